"""Waiting for jobs to finish, with a bar that shows how far they are."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.progress import Progress, TaskID

from deploy.cli import screen
from deploy.cli.client import Api, Json
from deploy.cli.errors import DONE, NOT_SUCCEEDED, STILL_RUNNING
from jobs.state import FINAL, JobState

LOOK_EVERY_SECONDS: Final = 0.5
"""How fresh the bar is."""
LONG_POLL_SECONDS: Final = 30.0
"""How long one request waits where nobody watches a bar."""
ANSWER_SECONDS: Final = 10.0


def wait_for(api: Api, job_id: str, seconds: float) -> Json:
    """Return the job as it is when it has finished, or after `seconds`. An API that is away is waited out."""
    with _patiently(f"job {job_id}"), screen.progress(counted=False) as bar:
        shown = bar.add_task(f"{job_id} looking", total=None)
        step = LONG_POLL_SECONDS if bar.disable else LOOK_EVERY_SECONDS
        for job in _looks(api, job_id, time.monotonic() + seconds, step):
            _show(bar, shown, job)
    return job


@contextmanager
def _patiently(what: str) -> Iterator[None]:
    """Tell who loses patience that only the waiting has ended."""
    try:
        yield
    except KeyboardInterrupt:
        screen.note(f"Not waiting any more for {what}; what was accepted goes on without us.")
        raise


def _looks(api: Api, job_id: str, deadline: float, step: float) -> Iterator[Json]:
    """Yield the job as it is every `step` seconds until it has finished, or until `deadline`; once at least."""
    left, finished = max(0.0, deadline - time.monotonic()), False
    while not finished:
        wait = min(left, step)
        job = api.get(
            f"/jobs/{job_id}",
            params={"wait_seconds": round(wait, 3)},
            patience=left,
            timeout=wait + ANSWER_SECONDS,
        )
        left = deadline - time.monotonic()
        finished = job["state"] in FINAL or left <= 0
        yield job


def _show(bar: Progress, shown: TaskID, job: Json) -> None:
    words = [job["task"], job["state"]]
    if job["attempt"]:
        words.append(f"attempt {job['attempt']}")
    own = job["progress"] or {}
    if own.get("note"):
        words.append(own["note"])
    bar.update(shown, description=screen.clean(" · ".join(words)))
    if own.get("total"):
        bar.update(shown, completed=own["done"], total=own["total"])


def wait_for_all(api: Api, ids: Sequence[str], seconds: float) -> Counter[str]:
    """Return how many of the jobs are in which state when all have finished, or after `seconds`."""
    deadline = time.monotonic() + seconds
    states: Counter[str] = Counter()
    with _patiently(f"{len(ids)} jobs"), screen.progress() as bar:
        for job_id in bar.track(ids, description="Waiting"):
            *_, job = _looks(api, job_id, deadline, LONG_POLL_SECONDS)
            states[job["state"]] += 1
    return states


def exit_code(states: Iterable[str]) -> int:
    """Return the code for jobs that were waited for: unfinished ones weigh most, then those that did not succeed."""
    seen = set(states)
    if seen - FINAL:
        return STILL_RUNNING
    return DONE if seen <= {JobState.SUCCEEDED} else NOT_SUCCEEDED
