"""A beat that fails while it moves jobs: each is moved once, and rung for in the end."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.model import JobId
from jobs.state import JobState
from tests.integration.failpoints.client import Client
from tests.integration.failpoints.exercise import Exercise, kill, together
from tests.integration.failpoints.site import Site, fired
from tests.integration.jobs import scenes
from tests.services.local_processes import LocalProcess

OFTEN = ("upkeep.release.commit", "upkeep.ring.commit", "upkeep.ring.ring")
RESCUE, EXPIRE, UNRING = "upkeep.rescue.commit", "upkeep.expire.commit", "upkeep.unring"
NOT_RUNG = ",".join(f"upkeep.ring.ring=outage@{nth}" for nth in range(1, 7))

DEATHS = (*map(kill, OFTEN), kill(RESCUE), kill(EXPIRE), kill(UNRING, also=NOT_RUNG))
MOVES = (Exercise(OFTEN), Exercise((RESCUE,), stride=1), Exercise((EXPIRE,), stride=1))
UNRUNG = (Exercise((UNRING,), stride=1, also=NOT_RUNG),)


class Work:
    """Gives the steps of upkeep something to do, again and again."""

    def __init__(self, site: Site) -> None:
        """Start a worker whose attempts will be lost, and one for all other jobs."""
        self._site = site
        self._client: Client = site.client(site.api())
        site.worker("default", worker_concurrency=2)
        self._lane, self._unserved = next(site.lanes), next(site.lanes)
        self._worker: LocalProcess = site.worker(self._lane)
        self._lost: JobId | None = None
        self.running: list[JobId] = []
        self.expiring: list[JobId] = []

    def go_on(self) -> None:
        """Submit what is wanting, and stop the worker in the middle of a job, or let it go on."""
        if not self._site.unfinished(self.running[-1:]):
            self.running.append(self._client.submit("chaos.quick", delay_seconds=0.05))
        if not self._site.unfinished(self.expiring[-1:]):
            soon = datetime.now(UTC) + timedelta(seconds=1)
            self.expiring.append(self._client.submit("chaos.quick", self._unserved, expires_at=soon))
        if self._lost is None:
            self._lost = self._client.submit("chaos.naps", self._lane, payload={"seconds": 0.2})
            self.running.insert(0, self._lost)
            self._site.until(lambda: self._lost in self._site.begun(), "the attempt to be lost has begun")
            self._worker.kill("SIGSTOP")
        elif "lost" in scenes.outcomes(self._site.engine, self._lost):
            self._worker.kill("SIGCONT")
            self._lost = self._lost if self._site.unfinished([self._lost]) else None

    def ends(self) -> None:
        """Assert that every job comes to its end."""
        self._worker.kill("SIGCONT")
        self._site.all_well(self.running)
        self._site.all_well(self.expiring, JobState.EXPIRED)


@pytest.fixture(scope="module")
def work(site: Site) -> Work:
    """What beats have to do here."""
    return Work(site)


@pytest.mark.parametrize("exercises", [DEATHS], ids=together)
def test_beats_that_are_killed_lose_no_job_and_move_none_twice(
    exercises: tuple[Exercise, ...], site: Site, work: Work
) -> None:
    for exercise in exercises:
        armed = site.beat(fail_points=exercise.armed)
        site.until(lambda armed=armed: work.go_on() or not armed.pid, f"{exercise} happens")  # type: ignore[misc]  # binds the loop's value
        assert fired(armed)[-1:] == exercise.pairs

    calm = site.beat()
    work.ends()
    calm.kill_all()


@pytest.mark.parametrize("exercises", [MOVES, UNRUNG], ids=together)
def test_a_beat_that_errs_loses_no_job_and_moves_none_twice(
    exercises: tuple[Exercise, ...], site: Site, work: Work
) -> None:
    wanted = {pair for exercise in exercises for pair in exercise.pairs}
    armed = site.beat(fail_points=",".join(exercise.armed for exercise in exercises))

    site.until(lambda: work.go_on() or wanted <= set(fired(armed)), f"{together(exercises)} happen")

    work.ends()
    assert armed.pid
    armed.kill_all()
