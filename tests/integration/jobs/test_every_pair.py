"""Every move of a job beside every other: whatever two do at the same moment, they could have done one after the other.

The first has done its work and not committed yet when the second begins. What is left in the tables must be what the
two leave behind in one order or the other; when the first takes everything back, what the second leaves alone. A move
that passes locked rows by may have done nothing; it comes back, as upkeep and heartbeats do.
"""

from collections.abc import Mapping
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, text

from jobs import attempts as life
from jobs import control, intake, upkeep
from jobs.errors import NotFound, StaleTransition
from jobs.model import JobId
from tests.factories import cancelled, failure, release, rescue, retry, success
from tests.integration.jobs import scenes
from tests.integration.jobs.test_pairs import (
    Move,
    Scene,
    alone,
    cancel,
    close,
    due,
    expire,
    extend,
    failed,
    finish,
    lost,
    meet,
    outdated,
    queued,
    redrive,
    release_due,
    rescue_lost,
    ring,
    ring_anew,
    running,
    start,
    unrung,
)


def cancel_asked(engine: Engine) -> JobId:
    job_id = running(engine)
    alone(engine, cancel, job_id)
    return job_id


def lost_and_unwanted(engine: Engine) -> JobId:
    job_id = lost(engine)
    alone(engine, cancel, job_id)
    return job_id


def scheduled_and_due(engine: Engine) -> JobId:
    job_id = scenes.scheduled(engine)
    scenes.make_due(engine, job_id)
    return job_id


def taken_over(engine: Engine) -> JobId:
    old, _ = scenes.taken_over(engine)
    return old.job_id


def succeeded(engine: Engine) -> JobId:
    return scenes.ended(engine, success())


def report(connection: Connection, job_id: JobId) -> bool:
    return life.progress(connection, job_id, 1, {"done": 1})


def give_back(connection: Connection, job_id: JobId) -> bool:
    """Take the doorbell back that the broker refused."""
    before = _is_rung(connection, job_id)
    upkeep.mark_unrung(connection, [job_id])
    return before and not _is_rung(connection, job_id)


def _is_rung(connection: Connection, job_id: JobId) -> bool:
    query = text("SELECT rung_at IS NOT NULL FROM jobs WHERE id = :id")
    return bool(connection.scalar(query, {"id": job_id}))


def replay(connection: Connection, job_id: JobId) -> bool:
    """Send a dead letter to work again as a new job, and close it."""
    try:
        new = control.copy(connection, job_id)
        control.close(connection, job_id, replayed_as=new.id)
    except (StaleTransition, NotFound):
        return False
    intake.accept(connection, [intake.Submission((new,))])
    return True


SCENES: Final[Mapping[str, Scene]] = {
    "queued": queued,
    "unrung": unrung,
    "outdated": outdated,
    "scheduled and due": scheduled_and_due,
    "retrying and due": due,
    "running": running,
    "running, to be cancelled": cancel_asked,
    "lost": lost,
    "lost, to be cancelled": lost_and_unwanted,
    "taken over": taken_over,
    "failed": failed,
    "succeeded": succeeded,
}
MOVES: Final[Mapping[str, Move]] = {
    "start": start,
    "extend": extend,
    "report": report,
    "succeed": finish(success()),
    "retry": finish(retry()),
    "fail": finish(failure()),
    "release": finish(release()),
    "rescue by its worker": finish(rescue()),
    "end cancelled": finish(cancelled()),
    "cancel": cancel,
    "rescue": rescue_lost,
    "release due": release_due,
    "expire": expire,
    "ring": ring,
    "ring anew": ring_anew,
    "give back": give_back,
    "redrive": redrive,
    "close": close,
    "replay": replay,
}
PASSES_BY: Final = frozenset({"start", "extend", "rescue", "release due", "expire", "ring", "ring anew"})
"""Moves that leave a row alone that somebody holds."""


ENDS: Final = "succeed, retry, fail, release, rescue by its worker, end cancelled"
#: The moves that come first in a scene: those that change something there, and one end that is refused.
FIRST: Final[Mapping[str, str]] = {
    "queued": "start, succeed, cancel, ring anew, give back",
    "unrung": "start, cancel, ring",
    "outdated": "cancel, expire, give back",
    "scheduled and due": "succeed, cancel, release due",
    "retrying and due": "cancel, release due, redrive",
    "running": f"extend, report, {ENDS}, cancel",
    "running, to be cancelled": f"extend, {ENDS}",
    "lost": f"extend, report, {ENDS}, cancel, rescue",
    "lost, to be cancelled": "succeed, retry, rescue",
    "taken over": "succeed, end cancelled, cancel",
    "failed": "redrive, close, replay",
    "succeeded": "cancel, replay",
}


def left_behind(engine: Engine, job_id: JobId) -> dict[str, Any]:
    """Return all that is true of the job and of its replays, but for instants and names."""
    row, events, attempts = scenes.assert_sound(engine, job_id)
    plain = ("state", "attempt", "error_count", "crash_count", "throttle_count", "reason", "progress", "version")
    instants = ("rung_at", "finished_at", "cancel_requested_at", "lease_expires_at", "closed_at")
    return {
        **{name: row[name] for name in plain},
        **{name: row[name] is not None for name in instants},
        "told": [event["name"] for event in events],
        "outcomes": [attempt["outcome"] for attempt in attempts],
        "replays": _replays(engine, job_id),
    }


def _replays(engine: Engine, job_id: JobId) -> int:
    with engine.connect() as connection:
        query = text("SELECT count(*) FROM jobs WHERE replay_of = :id")
        return connection.scalar(query, {"id": job_id}) or 0


Facts = dict[str, Any]
Play = tuple[str, ...]
"""A scene, and moves of which each follows the other."""


class Stage:
    """Plays moves on fresh jobs and remembers what they left behind in turn."""

    def __init__(self, engine: Engine, known: dict[Play, Facts]) -> None:
        """Play on this database, which is emptied after each play: upkeep takes whatever it finds."""
        self._engine = engine
        self._known = known

    def in_turn(self, scene: str, *moves: str) -> Facts:
        """Return what the moves leave behind, each after the other."""
        play = (scene, *moves)
        if play not in self._known:
            job_id = SCENES[scene](self._engine)
            for move in moves:
                alone(self._engine, MOVES[move], job_id)
            self._known[play] = self._end(job_id)
        return self._known[play]

    def at_once(self, scene: str, first: str, second: str, *, commit: bool) -> Facts:
        """Return what two moves leave behind that meet."""
        job_id = SCENES[scene](self._engine)
        _, did = meet(self._engine, job_id, MOVES[first], MOVES[second], commit=commit)
        if second in PASSES_BY and not did:
            alone(self._engine, MOVES[second], job_id)
        return self._end(job_id)

    def _end(self, job_id: JobId) -> Facts:
        found = left_behind(self._engine, job_id)
        with self._engine.begin() as connection:
            connection.execute(text("DELETE FROM jobs"))
        return found


@pytest.fixture(scope="module")
def known() -> dict[Play, Facts]:
    """What plays left behind: each is asked for by two tests, with either of its moves as the first."""
    return {}


@pytest.fixture
def stage(engine: Engine, known: dict[Play, Facts]) -> Stage:
    return Stage(engine, known)


MEETINGS: Final = [(scene, first) for scene, moves in FIRST.items() for first in moves.split(", ")]


@pytest.mark.parametrize(("scene", "first"), MEETINGS)
def test_two_moves_at_once_leave_what_they_leave_in_turn(stage: Stage, scene: str, first: str) -> None:
    for second in MOVES:
        if (first, second in ENDS.split(", ")) == ("start", True):
            continue  # nobody can end an attempt whose start is not committed
        both = stage.at_once(scene, first, second, commit=True)
        one = stage.at_once(scene, first, second, commit=False)

        orders = ((first, second), (second, first))
        assert any(both == stage.in_turn(scene, *order) for order in orders), f"{first}, {second}: {both}"
        assert one == stage.in_turn(scene, second), f"{second}, after {first} was taken back"
