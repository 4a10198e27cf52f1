"""Named places between two durable steps, at which a test has a real process fail.

They are armed by one environment variable that is read when a process starts, and by nothing else::

    PENSTOCK_FAIL_POINTS="intake.commit=kill,settle.write=cut@2,start.launch=delay@3:1.5"

Each entry is ``point=action[@nth][:seconds]``: what happens when this process comes to the point for the nth time (the
first, unless told), and how long a delay lasts. `jobs.points` lists the points. Unarmed, a point is one look at an
empty dictionary.
"""

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Final, NamedTuple

import psycopg
import structlog
from pydantic import Field, field_validator
from pydantic_settings import NoDecode
from sqlalchemy.exc import OperationalError

from jobs.environment import Settings
from jobs.errors import BrokerUnavailable, DatabaseUnavailable, OutcomeUnknown
from jobs.points import POINTS, Action, Breaks

log = structlog.get_logger()

_WHY: Final = "a fail-point broke the connection"

_ENTRY: Final = re.compile(
    r"(?P<point>[a-z_.]+)=(?P<action>[a-z]+)(?:@(?P<nth>[1-9]\d*))?(?::(?P<seconds>\d+(?:\.\d+)?))?"
)


class Unforeseen(RuntimeError):
    """A fail-point raised this: an error that no code expects."""


class Arm(NamedTuple):
    """What one point does, once."""

    point: str
    action: Action
    nth: int = 1
    seconds: float = 1.0


class FailPointSettings(Settings):
    """Where a process is to fail. For tests."""

    fail_points: Annotated[
        tuple[Arm, ...],
        NoDecode,
        Field(description="Fail-points to arm, as `point=action[@nth][:seconds]`; see [Fail-points](fail-points.md)"),
    ] = ()

    @field_validator("fail_points", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        arms = tuple(_arm(entry.strip()) for entry in value.split(",") if entry.strip())
        for one, other in itertools.combinations(arms, 2):
            if (one.point, one.nth) == (other.point, other.nth):
                raise ValueError(f"{one.point} is armed twice for passage {one.nth}")
        return arms


def _arm(entry: str) -> Arm:
    """Read one entry. Raises `ValueError` for a point or an action that is not in the table."""
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(f"{entry!r} is not of the form point=action[@nth][:seconds]")
    point, action = found["point"], found["action"]
    if point not in POINTS:
        raise ValueError(f"there is no fail-point {point!r}; docs/reference/fail-points.md lists them")
    if action not in list(Action):
        raise ValueError(f"there is no action {action!r}; there are {', '.join(Action)}")
    if action in POINTS[point].never:
        raise ValueError(f"{point} knows no {action}: {POINTS[point].never[Action(action)]}")
    if found["seconds"] and action != Action.DELAY:
        raise ValueError(f"{entry!r} has seconds, which only a delay takes")
    return Arm(point, Action(action), int(found["nth"] or 1), float(found["seconds"] or 1.0))


class _Watch:
    """Counts how often this process came to one point, and acts when it is time."""

    def __init__(self) -> None:
        self.arms: dict[int, Arm] = {}
        self._passages = itertools.count(1)
        self._cut: dict[int, Arm] = {}
        """By the thread in which the step is under way whose answer will be cut off."""

    def reach(self) -> None:
        self._cut.pop(threading.get_ident(), None)
        arm = self.arms.get(next(self._passages))
        if arm is None:
            return
        if arm.action is Action.CUT:
            self._cut[threading.get_ident()] = arm
        else:
            _act(arm)

    def leave(self) -> None:
        arm = self._cut.pop(threading.get_ident(), None)
        if arm is not None:
            _act(arm)


def _act(arm: Arm) -> None:
    log.warning("fail_point", point=arm.point, action=arm.action.value, nth=arm.nth)
    if arm.action is Action.KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if arm.action is Action.DELAY:
        time.sleep(arm.seconds)  # to be late is the point's whole work
        return
    if arm.action is Action.BUG:
        raise Unforeseen(f"raised by the fail-point {arm.point}")
    before, after = _OUTAGES[POINTS[arm.point].breaks]
    raise after() if arm.action is Action.CUT else before()


def _broken_session() -> OperationalError:
    return OperationalError("a statement", None, psycopg.OperationalError(_WHY))


def _broken_pipe() -> ConnectionResetError:
    return ConnectionResetError(_WHY)


#: What an outage looks like before a step, and when the step has happened.
_OUTAGES: Final[Mapping[Breaks, tuple[Callable[[], Exception], Callable[[], Exception]]]] = {
    Breaks.SESSION: (_broken_session, _broken_session),
    Breaks.STORE: (DatabaseUnavailable, OutcomeUnknown),
    Breaks.PIPE: (_broken_pipe, _broken_pipe),
    Breaks.BROKER: (BrokerUnavailable, BrokerUnavailable),
}

_armed: dict[str, _Watch] = {}


def arm(settings: FailPointSettings) -> None:
    """Arm the points of `settings` in this process and in those that it will fork, and no others."""
    _armed.clear()
    for one in settings.fail_points:
        _armed.setdefault(one.point, _Watch()).arms[one.nth] = one
    if _armed:
        log.warning("fail_points_armed", points=sorted(_armed))


def reached(point: str) -> None:
    """Return at once, unless a test wants this process to fail here: the step has not happened."""
    if _armed and (watch := _watch(point)):
        watch.reach()


def passed(point: str) -> None:
    """Return at once, unless a test wants the answer of the step to be lost: the step has happened."""
    if _armed and (watch := _watch(point)):
        watch.leave()


def _watch(point: str) -> _Watch | None:
    """Return who watches the point, if it is armed. Raises `KeyError` for one that the table lacks."""
    if point not in POINTS:
        raise KeyError(point)
    return _armed.get(point)
