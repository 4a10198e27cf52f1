"""What one part of an audit says."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a part ended. Whoever could not be asked has said nothing, which is neither good nor bad."""

    GOOD = "nothing found"
    FOUND = "FOUND"
    NOT_ASKED = "could not be asked"


@dataclass(frozen=True)
class Part:
    """One part of an audit, as it came out."""

    name: str
    with_what: str
    """The program and its version."""
    looked_at: str
    verdict: Verdict
    told: list[str] = field(default_factory=list)
    """What was found, or why nobody could be asked: a line each."""

    def as_json(self) -> dict[str, Any]:
        """Return the part as values that JSON knows."""
        return {
            "name": self.name,
            "with": self.with_what,
            "looked at": self.looked_at,
            "verdict": self.verdict.value,
            "told": self.told,
        }


def judged(name: str, with_what: str, looked_at: str, told: list[str]) -> Part:
    """Return a part that was asked: good when there is nothing to tell."""
    return Part(name, with_what, looked_at, Verdict.FOUND if told else Verdict.GOOD, told)
