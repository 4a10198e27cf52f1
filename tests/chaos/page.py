"""The tables on the checker's page are what the code says. `python -m tests.chaos.page` writes them anew."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from deploy.stack.home import ROOT
from tests.chaos import checker, invariants_executions, invariants_promises, invariants_records, invariants_time
from tests.chaos.invariant import OF_A_JOB, OF_THE_RUN
from tests.chaos.planting import Planted

PAGE: Final = ROOT / "docs" / "explanation" / "checker.md"
PLANTED: Final = Path(checker.__file__).parent / "planted"
SECTIONS: Final = {
    "What clients were told": invariants_promises,
    "What the tables say of each other": invariants_records,
    "When things happened": invariants_time,
    "What tasks did": invariants_executions,
}


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def invariants() -> Iterator[str]:
    """Go through the lines that tell of the invariants, by section."""
    checks = {**OF_A_JOB, **OF_THE_RUN}
    for heading, module in SECTIONS.items():
        yield from ("", f"## {heading}", "", "| invariant | says | counts as |", "|---|---|---|")
        for invariant, check in checks.items():
            if check.__module__ == module.__name__:
                yield f"| `{invariant.name}` | {_one_line(invariant.says)} | {invariant.means or ''} |"
    yield ""


def planted() -> Iterator[str]:
    """Go through the lines that tell of the bugs."""
    yield from ("", "| bug | in | what it does | what the checker names |", "|---|---|---|---|")
    for patch in sorted(PLANTED.glob("*.patch")):
        bug = Planted.read(patch)
        names = ", ".join(f"`{name}`" for name in sorted(bug.breaks))
        where, does = ", ".join(sorted(bug.packages)), _one_line(patch.read_text().partition("Breaks:")[0])
        yield f"| `{patch.stem}` | {where} | {does} | {names} |"
    yield ""


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    parts: Mapping[str, Iterator[str]] = {"invariants": invariants(), "planted": planted()}
    for name, lines in parts.items():
        between = re.compile(rf"(<!-- {name}:[^\n]*-->\n).*(<!-- end of {name} -->)", re.DOTALL)
        made = "\n".join(lines)
        text = between.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)  # type: ignore[misc]  # binds the loop's value
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
