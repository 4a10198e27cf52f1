"""What the keeper counts, once the database has accepted it."""

import time
from collections.abc import Sequence
from typing import Final

from jobs.model import Attempt, Verdict
from jobs.state import FINAL, TRANSITIONS
from jobs.telemetry.contract import OTHER
from jobs.telemetry.metrics import Instruments
from tasks.catalogue import Catalogue
from worker.business import Business
from worker.running import Running

_MOST_QUEUES: Final = 100


class Counting:
    """Counts attempts by task and queue; what is not installed here is counted as `other`."""

    def __init__(self, instruments: Instruments, catalogue: Catalogue) -> None:
        """Count with `instruments`."""
        self._instruments = instruments
        self._catalogue = catalogue
        self._queues: set[str] = set()
        self._business = Business()
        if not instruments.silent:
            instruments.registry.register(self._business)

    def started(self, begun: Sequence[Attempt], *, idle: int) -> None:
        """Count attempts that have begun, and doorbells that began none."""
        for attempt in begun:
            labels = self._labels(attempt)
            self._instruments["attempts_started"].labels(*labels).inc()
            if attempt.number == 1:
                self._instruments["queue_wait_seconds"].labels(*labels).observe(waited(attempt))
        self._instruments["doorbells_idle"].inc(idle)

    def ended(self, running: Running, verdict: Verdict | None) -> None:
        """Count the end of an attempt; None: it was fenced."""
        labels = self._labels(running.attempt)
        if verdict is None:
            self._instruments["attempts_fenced"].labels(*labels).inc()
            return
        seconds = time.monotonic() - running.since
        self._instruments["attempts_finished"].labels(*labels, verdict.outcome.value).inc()
        self._instruments["run_seconds"].labels(*labels).observe(seconds)
        state = TRANSITIONS[verdict.event].target
        if state in FINAL:
            whole = waited(running.attempt) + seconds
            self._instruments["end_to_end_seconds"].labels(*labels, state.value).observe(whole)
        if running.ending is not None and running.ending.measures and not self._instruments.silent:
            dropped = self._business.take(labels[0], running.ending.measures) + running.ending.dropped
            self._instruments["measures_dropped"].labels(*labels).inc(dropped)

    def _labels(self, attempt: Attempt) -> tuple[str, str]:
        """Return the attempt's task and queue as labels, of which there is a bounded number."""
        task = attempt.task if attempt.task in self._catalogue else OTHER
        if len(self._queues) < _MOST_QUEUES:
            self._queues.add(attempt.queue)
        return task, attempt.queue if attempt.queue in self._queues else OTHER


def waited(attempt: Attempt) -> float:
    """Return the seconds from when the job was due to this attempt's start; from its acceptance, for a later attempt.

    When a job of several attempts was first due is not kept.
    """
    since = attempt.run_at if attempt.number == 1 else attempt.created_at
    return max(0.0, (attempt.started_at - since).total_seconds())
