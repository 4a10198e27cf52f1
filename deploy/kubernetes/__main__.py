"""Writes monitoring/rules.yaml from deploy/prometheus/rules: `python -m deploy.kubernetes`."""

import textwrap
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
RULES: Final = HERE.parent / "prometheus" / "rules"
FILE: Final = HERE / "monitoring" / "rules.yaml"

HEAD: Final = """\
# Made by `python -m deploy.kubernetes` from deploy/prometheus/rules; a test fails when they differ.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: penstock
spec:
  groups:
"""


def text() -> str:
    """Return the manifest as the rules are now."""
    return HEAD + "".join(_groups(file) for file in sorted(RULES.glob("*.yml")))


def _groups(file: Path) -> str:
    """Return what stands under `groups:` of one file, comments and all."""
    return textwrap.indent(file.read_text().partition("\ngroups:\n")[2], "  ")


def main() -> None:
    """Write it."""
    FILE.write_text(text())


if __name__ == "__main__":
    main()
