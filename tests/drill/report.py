"""The result of a drill: a page for people, a file for programs."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.bench.machine import commit, machine
from tests.drill.run import Outcome

SHOWN: Final = 20


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return the report as values that JSON knows."""
    checked = outcome.checked
    return {
        "good": outcome.is_good,
        "wrong": outcome.wrong,
        "seconds": {name: round(value, 2) for name, value in outcome.seconds.items()},
        "facts": outcome.facts,
        "checker": checked.as_json() if checked else None,
        "command": outcome.options.command,
        "planted": outcome.options.plant,
        "commit": commit(),
        "machine": machine(),
        "written at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def as_markdown(outcome: Outcome) -> str:
    """Return the page."""
    verdict = "nothing acknowledged before the point is missing" if outcome.is_good else "NOT GOOD"
    lines = [
        f"# Restore drill with {outcome.options.broker}, seed {outcome.options.seed}: {verdict}",
        "",
        "| step | seconds |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {value:.1f} |" for name, value in outcome.seconds.items()]
    lines += ["", "| fact | |", "|---|---|"]
    lines += [f"| {name} | {_told(value)} |" for name, value in outcome.facts.items()]
    if outcome.checked:
        counts = outcome.checked.counts
        states = ", ".join(f"{count} {state}" for state, count in counts.states.most_common())
        lines += [f"| jobs in the end | {counts.jobs}: {states} |"]
        lines += [f"| lost, doubled | {counts.lost}, {counts.doubled} |"]
        held = sum(1 for count in outcome.checked.facts.values() if count) - len(outcome.checked.broken)
        lines += [f"| invariants that were tried, and held | {held} |"]
        wrong = [f"{one.invariant} {one.job_id}: {one.text}" for one in outcome.checked.violations]
        lines += ["", *(f"- {text}" for text in wrong[:SHOWN])]
    lines += ["", *(f"- {text}" for text in outcome.wrong[:SHOWN])]
    where = ", ".join(f"{name} {value}" for name, value in machine().items())
    lines += [
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}. Again: `{outcome.options.command}`",
        where,
    ]
    return "\n".join(lines) + "\n"


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    if isinstance(value, list) and len(value) > 2:
        return f"{len(value)} jobs, listed in the JSON"
    return str(value)


def write(outcome: Outcome, folder: Path) -> list[Path]:
    """Write both and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_json(outcome), indent=2, default=str) + "\n"
    written = [folder / "restore-drill.json", folder / "restore-drill.md"]
    for path, content in zip(written, (text, as_markdown(outcome)), strict=True):
        path.write_text(content)
    return written
