"""What the processes wrote that nobody should have to read in good times: errors, by process and event."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Final

LONGEST: Final = 100
IDS: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+|\b\d+\b")
"""What makes two lines about the same thing differ."""
SERIOUS: Final = frozenset({"error", "critical", "exception"})


def serious_lines(folder: Path, names: frozenset[str]) -> Counter[str]:
    """Count the serious lines of the logs of `names`, and those that are no JSON: what a process says as it breaks."""
    found: Counter[str] = Counter()
    for log in sorted(folder.glob("*.log")):
        if log.stem not in names:
            continue
        role = log.stem.partition("-")[0]
        with log.open(errors="replace") as lines:
            for line in lines:
                event = _event(line)
                if event is not None:
                    found[f"{role}: {event}"] += 1
    return found


def _event(line: str) -> str | None:
    """Return what a serious line tells; None: it is not one."""
    try:
        facts = json.loads(line)
    except ValueError:
        return "Traceback" if line.startswith("Traceback") else None
    if not isinstance(facts, dict) or facts.get("level") not in SERIOUS:
        return None
    return IDS.sub("..", str(facts.get("event")))[:LONGEST]
