"""Jobs that kill their process again and again harm nobody but themselves."""

import statistics
import time
from typing import Final

from jobs.model import JobId
from jobs.state import JobState
from tests.conformance.plant import Plant

SHORT_JOBS: Final = 75
"""In a stream."""
TURNS: Final = 2
PACE_SECONDS: Final = 0.03
"""Between two short jobs."""
POISON_EVERY: Final = 15
"""Short jobs, of which one is followed by a job that kills its process."""
WORSE_SECONDS: Final = 0.5
"""By which the middle one of the short jobs may start later for it, on a machine that is busy otherwise."""


def stream(plant: Plant, lane: str, *, poisoned: bool) -> tuple[list[JobId], list[JobId]]:
    """Submit short jobs at a steady pace, with or without poison among them; return both kinds when all are final."""
    short, poison = [], []
    began = time.monotonic()
    for number in range(SHORT_JOBS):
        plant.until(lambda due=began + number * PACE_SECONDS: time.monotonic() >= due, "it is time", 5)  # type: ignore[misc]  # binds the loop's value
        short.append(plant.submit("probe.naps", lane, seconds=0.01))
        if poisoned and number % POISON_EVERY == 0:
            poison.append(plant.submit("demo.crash", lane))
    plant.all_finished(short + poison, seconds=90)
    return short, poison


def latency(plant: Plant, ids: list[JobId]) -> float:
    """Return the seconds in which half of the jobs were started."""
    query = (
        "SELECT extract(epoch FROM attempts.started_at - jobs.created_at)::float AS seconds"
        " FROM jobs JOIN attempts ON attempts.job_id = jobs.id AND attempts.number = 1 WHERE jobs.id = ANY(:ids)"
    )
    return statistics.median(row["seconds"] for row in plant.ask(query, ids=ids))


def test_poison_among_short_jobs_is_put_aside_and_does_not_hold_them_up(plant: Plant) -> None:
    with plant.crew(worker_concurrency=4) as crew:
        clean: list[JobId] = []
        short: list[JobId] = []
        poison: list[JobId] = []
        for _ in range(TURNS):
            clean += stream(plant, crew.lane, poisoned=False)[0]
            beside, bad = stream(plant, crew.lane, poisoned=True)
            short += beside
            poison += bad

        assert {(plant.job(one)["state"], plant.job(one)["reason"]) for one in poison} == {(JobState.FAILED, "crashed")}
        assert {tuple(plant.outcomes(one)) for one in poison} == {("lost", "lost", "lost")}
        harmed = "SELECT id FROM jobs WHERE id = ANY(:ids) AND (state <> 'succeeded' OR crash_count + error_count > 0)"
        assert plant.ask(harmed, ids=short) == []
        assert latency(plant, short) < latency(plant, clean) + WORSE_SECONDS
