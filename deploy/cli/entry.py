"""The command's front door. All of the command takes a second to load; a probe must not."""

import sys
from importlib import import_module


def run() -> None:
    """Run `penstock`, and of it `health` alone where only that is asked for."""
    if sys.argv[1:2] == ["health"]:
        del sys.argv[1]
        import_module("deploy.cli.health").run()
    else:
        import_module("deploy.cli.main").run()


if __name__ == "__main__":
    run()
