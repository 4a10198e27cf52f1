"""What is exercised: fail-points, what is done at each, and how a process is told."""

from dataclasses import dataclass
from typing import Final

from jobs.points import POINTS, Action

ERRORS: Final = tuple(action for action in Action if action is not Action.KILL)
"""What a process may meet at a point and live."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """Actions at fail-points in one process, each at a passage of its own."""

    points: tuple[str, ...]
    actions: tuple[Action, ...] = ERRORS
    first: int = 1
    """The passage at which the first action is due, and by how many the next is later."""
    stride: int = 2
    also: str = ""
    """What must be armed as well, for the process to come to the points at all."""
    delay: float = 0.3

    @property
    def pairs(self) -> list[tuple[str, Action]]:
        """What must have happened: the actions that make sense at each point."""
        return [
            (point, action) for action in self.actions for point in self.points if action not in POINTS[point].never
        ]

    @property
    def armed(self) -> str:
        """The value of PENSTOCK_FAIL_POINTS."""
        entries = [
            f"{point}={action}@{self.first + place * self.stride}"
            + (f":{self.delay}" if action is Action.DELAY else "")
            for place, (point, action) in enumerate(self.pairs)
        ]
        return ",".join([*entries, self.also] if self.also else entries)

    def __str__(self) -> str:
        """Name it in a test's id."""
        return f"{'+'.join(self.points)}={'+'.join(self.actions)}"


def kill(point: str, *, at: int = 1, also: str = "") -> Exercise:
    """Return the exercise of SIGKILL at a point."""
    return Exercise((point,), (Action.KILL,), first=at, also=also)


def together(exercises: tuple[Exercise, ...]) -> str:
    """Name exercises of several processes in a test's id."""
    return ",".join(map(str, exercises))
