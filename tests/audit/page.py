"""The result of an audit: a table for people, a file for programs, and the page of the documentation."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from deploy.stack.home import ROOT
from tests.audit.finding import Part, Verdict
from tests.bench.machine import commit, machine

PAGE: Final = ROOT / "docs" / "reference" / "audit.md"
COMMAND: Final = "python -m tests.audit"

HEAD: Final = """\
# The audit

`make audit` looks over what ships and what it stands on, and writes `.run/audit/result.json` and the bill of materials,
`.run/audit/penstock.cdx.json`. It ends with 1 when something is found. Who needs the network and is not reached
*could not be asked*: that is said, proves nothing, and ends with 2 where `make audit STRICT=1` asks for every answer,
as CI does. `make audit PAGE=1` writes this page.

| part | what it does |
|---|---|
| advisories | asks OSV, a public list of known vulnerabilities, about each version in the locks |
| code | holds the code to ruff's rules about security (S); each exception says why where it stands |
| secrets | looks in the files that git knows for keys of known forms, passwords in URLs, literals as if drawn by lot |
| bill of materials | writes what the image installs as CycloneDX, with hashes, and validates it |
| workflows | holds the files for CI to their schema, and to what zizmor knows of risks |

The history of the repository is not looked through, nor is the base image, whose packages are Debian's.

## The last result
"""


def as_json(parts: list[Part]) -> dict[str, Any]:
    """Return a whole audit as values that JSON knows."""
    return {
        "parts": [part.as_json() for part in parts],
        "command": COMMAND,
        "commit": commit(),
        "machine": {name: value for name, value in machine().items() if name != "load before"},
        "written at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def table(parts: list[Part]) -> str:
    """Return the table of the parts, and below it what they found."""
    lines = ["| part | with | looked at | |", "|---|---|---|---|"]
    lines += [f"| {part.name} | {part.with_what} | {part.looked_at} | {part.verdict} |" for part in parts]
    told = [f"- {part.name}: `{line.replace('`', chr(39))}`" for part in parts for line in part.told]
    return "\n".join([*lines, *([""] if told else []), *told]) + "\n"


def page(result: dict[str, Any]) -> str:
    """Return the page of the documentation for a result."""
    parts = [
        Part(one["name"], one["with"], one["looked at"], Verdict(one["verdict"]), one["told"])
        for one in result["parts"]
    ]
    where = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    made = f"{result['written at']}, commit {result['commit']}, by `{result['command']}`.\nMachine: {where}.\n"
    return f"{HEAD}\n{table(parts)}\n{made}"


def write(result: dict[str, Any], folder: Path, *, with_page: bool) -> list[Path]:
    """Write the result, and the page where it is wanted; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "result.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    if with_page:
        PAGE.write_text(page(result))
    return [file, PAGE] if with_page else [file]
