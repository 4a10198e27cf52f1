"""The command's front door. All of the command takes a second to load; a probe must not, nor a process that starts."""

import sys
from importlib import import_module
from typing import Final

ALONE: Final = {
    "health": "deploy.cli.health",
    **dict.fromkeys(("up", "stop", "api", "worker", "beat", "flower"), "deploy.cli.processes"),
}
"""Commands that are loaded without the others."""


def run() -> None:
    """Run `penstock`, or of it what is asked for alone."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    import_module(ALONE.get(asked, "deploy.cli.main")).run()


if __name__ == "__main__":
    run()
