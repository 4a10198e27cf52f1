"""Keeps the attempts of one worker: starts them in batches, settles them in batches.

One thread in the worker's main process owns all writes that begin or end an attempt, so a hundred small
jobs cost a few statements and no child of the pool needs a connection to run. Doorbells come in from the
event loop; attempts go out to it to be launched; endings come back from the pool.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from jobs.errors import DatabaseUnavailable, UnknownTask
from jobs.failpoints import reached
from jobs.model import Attempt, JobId, Settlement, Verdict
from jobs.retry import RetryPolicy
from jobs.telemetry import logs
from jobs.telemetry.metrics import Instruments
from tasks.catalogue import Catalogue
from tasks.messages import Ring
from worker.admission import Admission, Doorbell, Waiting
from worker.counting import Counting
from worker.execution import Ending, How
from worker.ledger import Ledger
from worker.rates import Rates
from worker.running import Running, Settled, is_without_word, tell
from worker.verdicts import judge

log = structlog.get_logger()

MOST_AT_ONCE: Final = 200
"""Attempts that one statement starts or settles."""
STUCK_AFTER: Final = 0.1
"""Seconds after which an attempt is no quick one, and nothing is started ahead behind it."""
LINGER: Final = 0.004
"""Seconds for which endings are gathered while started jobs wait for slots."""
MOST_TRIES: Final = 60
"""Tries to settle an attempt whose row somebody holds, a second each; then its lease is left to run out."""
PAUSE_AFTER_OUTAGE: Final = 1.0
LOOK_FOR_STRAYS_EVERY: Final = 1.0
"""Seconds between two looks for jobs that were started in our name by a statement whose answer was cut off."""


class Keeper:
    """The attempts of one worker."""

    def __init__(
        self, *, worker: str, ledger: Ledger, slots: int, catalogue: Catalogue, instruments: Instruments
    ) -> None:
        """Nothing runs before `start`."""
        self.worker = worker
        self.slots = slots
        self.rates = Rates()
        self._ledger = ledger
        self._catalogue = catalogue
        self._instruments = instruments
        self._counting = Counting(instruments, catalogue)
        self._news = threading.Condition()
        self._admission = Admission(slots)
        self._endings: deque[Running] = deque()
        self._running: dict[tuple[JobId, int], Running] = {}
        self._busy = 0
        self._draining = self._closing = False
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self.wake: Callable[[], None] = lambda: None
        """Called from the keeper's thread when the event loop has something to fetch."""
        self.claimed: Callable[[], None] = lambda: None
        """Called from the keeper's thread when doorbells have led to attempts."""
        self.killed: Callable[[Attempt, Ending], None] = lambda *_: None
        """Called from the keeper's thread with an attempt whose process did not live to tell its end."""
        self.launches: deque[Running] = deque()
        self.dealt_with: deque[Doorbell] = deque()
        self.settled: deque[Settled] = deque()
        self.watched = False
        """Whether somebody fetches what was settled."""

    # What the event loop and the pool call.

    def start(self) -> None:
        """Begin to start and settle."""
        self._instruments["slots"].set(self.slots)
        self._thread.start()

    def offer(self, ring: Ring, doorbell: Doorbell) -> None:
        """Have the jobs of `ring` started when there is room, the most urgent first."""
        with self._news:
            self._admission.push(ring, doorbell)
            self._news.notify()

    def forget_waiting(self) -> list[Doorbell]:
        """Drop the doorbells that wait and return them; their jobs are still queued."""
        with self._news:
            return self._admission.clear()

    def accepted(self, running: Running, pid: int) -> None:
        """Note which process runs the attempt."""
        running.accepted_at = time.monotonic()
        running.pid = pid

    def ended(self, running: Running, ending: Ending) -> None:
        """Have the end of an attempt settled. Only the first ending of an attempt counts.

        A process that dies while the worker stops was most likely told to stop with it (systemd signals the whole
        group unless it is told otherwise): its job is given back, and no crash counted.
        """
        with self._news:
            if running.ending is not None:
                return
            running.ending = Ending(How.RELEASED) if self._draining and ending.how is How.LOST else ending
            self._busy -= 1
            if running.accepted_at is not None:
                self._admission.learn(running.attempt.task, time.monotonic() - running.accepted_at)
            self._endings.append(running)
            self._news.notify()

    def give_back(self, chosen: Iterable[Running]) -> None:
        """Have the jobs of these attempts released, so that others can have them at once."""
        for running in chosen:
            self.ended(running, Ending(How.RELEASED))

    def let_go(self, chosen: Iterable[Running]) -> None:
        """Extend these leases no more: upkeep takes the jobs back when they have run out."""
        lost = list(chosen)
        with self._news:
            for running in lost:
                self._running.pop(_key(running), None)
                if running.ending is None:
                    running.ending = Ending(How.LOST)
                    self._busy -= 1
            self._news.notify()
        log.error("attempts_left_to_their_leases", count=len(lost))
        logs.info_each("attempt_left_to_its_lease", [logs.facts_of(running.attempt) for running in lost])

    def held(self) -> list[Running]:
        """Return the attempts whose lease is ours to extend."""
        with self._news:
            return list(self._running.values())

    def touch(self, running: Running, action: Callable[[int], None]) -> None:
        """Do something to the process of an attempt, unless the attempt has ended meanwhile.

        The lock keeps the pool from giving that process another job in between.
        """
        with self._news:
            if running.ending is None and running.pid is not None:
                action(running.pid)

    @property
    def busy(self) -> int:
        """How many attempts run or are about to."""
        return self._busy

    @property
    def saturated(self) -> bool:
        """Whether doorbells wait and no slot is free."""
        return len(self._admission) > 0 and not self.has_room

    @property
    def has_room(self) -> bool:
        """Whether a slot is free."""
        return not self._draining and self._busy < self.slots

    @property
    def is_alive(self) -> bool:
        """Whether the keeper's thread runs."""
        return self._thread.is_alive()

    @property
    def draining(self) -> bool:
        """Whether nothing more is started."""
        return self._draining

    def drain(self) -> None:
        """Start nothing more. Takes no lock: it is called where a signal was caught."""
        self._draining = True

    def close(self, timeout: float = 5.0) -> None:
        """Settle what has ended, give back what has not, and stop."""
        self.drain()
        self.give_back(running for running in self.held() if running.ending is None)
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    # The keeper's own thread.

    def _run(self) -> None:
        while True:
            self._linger()
            endings, chosen = self._next()
            if not endings and not chosen:
                self._give_strays_back()
                if self._closing:
                    return
                continue
            try:
                if endings:
                    self._settle(endings)
                if chosen:
                    self._start(chosen)
            except Exception:  # whatever it was, the worker's other jobs must go on; the leases cover these
                log.exception("keeper_failed")
            self.wake()

    def _give_strays_back(self) -> None:
        """Give back what was started in our name and is not ours, when there is nothing else to do."""
        if not self._ledger.is_unsure:
            return
        try:
            self._ledger.give_strays_back({job_id for job_id, _ in self._running})
        except DatabaseUnavailable:
            log.warning("database_unavailable", doing="give_strays_back")
        except Exception:  # the leases cover them
            log.exception("strays_not_given_back")

    def _linger(self) -> None:
        """Gather a larger batch while the slots have enough to do; when they have not, lose no time."""
        if len(self.launches) >= self.slots and not self._draining:
            time.sleep(LINGER)  # not a wait on the condition: each ending would wake it

    def _next(self) -> tuple[list[Running], list[Waiting]]:
        """Wait for work and take it; nothing: it is time to look for strays, or all is settled and we close."""
        until = time.monotonic() + LOOK_FOR_STRAYS_EVERY if self._ledger.is_unsure else None
        with self._news:
            while not (self._endings or self._closing or self._may_start(stuck=self._stuck())):
                if not self._news.wait(None if until is None else max(until - time.monotonic(), 0.0)):
                    break
            endings = [self._endings.popleft() for _ in range(min(len(self._endings), MOST_AT_ONCE))]
            chosen = self._admission.take(self._busy, MOST_AT_ONCE, stuck=self._stuck()) if not self._draining else []
            self._busy += len(chosen)
        return endings, chosen

    def _may_start(self, *, stuck: bool) -> bool:
        return not self._draining and self._admission.may_take(self._busy, stuck=stuck)

    def _stuck(self) -> bool:
        if self._busy < self.slots:
            return False
        long_ago = time.monotonic() - STUCK_AFTER
        return any(running.since < long_ago and running.ending is None for running in self._running.values())

    def _start(self, chosen: list[Waiting]) -> None:
        """Begin what the doorbells name; when that is not possible now, they go on waiting."""
        held = {job_id for job_id, _ in self._running}
        try:
            turn = {waiting.job_id: place for place, waiting in enumerate(chosen)}
            begun = sorted(self._ledger.begin(list(turn), held), key=lambda one: turn[one.job_id])
        except DatabaseUnavailable:
            log.warning("database_unavailable", doing="start", count=len(chosen))
            with self._news:
                self._busy -= len(chosen)
                self._admission.put_back(chosen)
            time.sleep(PAUSE_AFTER_OUTAGE)  # a database that is away is not asked in a tight loop
            return
        except Exception:
            log.exception("start_failed", count=len(chosen))
            self._start_apart(chosen)
            return
        if begun:
            self.claimed()
        fresh = [Running(attempt) for attempt in begun]
        with self._news:
            self._busy -= len(chosen) - len(begun)
            self._running |= {(one.attempt.job_id, one.attempt.number): one for one in fresh}
        self.launches.extend(fresh)
        self._deal_with(chosen)
        self._counting.started(begun, idle=len(chosen) - len(begun))

    def _start_apart(self, chosen: list[Waiting]) -> None:
        """Start each by itself after an error that nobody foresaw; the one that it strikes again is left to upkeep."""
        if len(chosen) > 1:
            for waiting in chosen:
                self._start([waiting])
            return
        with self._news:
            self._busy -= len(chosen)
        self._deal_with(chosen)

    def _deal_with(self, chosen: list[Waiting]) -> None:
        for waiting in chosen:
            waiting.doorbell.open_count -= 1
            if waiting.doorbell.open_count == 0:
                self.dealt_with.append(waiting.doorbell)

    def _settle(self, endings: list[Running]) -> None:
        """Settle what has ended; an error that nobody foresaw strikes only the attempt that it is about.

        That one is let go: its lease is extended no more, and upkeep takes the job back when it has run out.
        """
        try:
            self._settle_together(endings)
        except DatabaseUnavailable:
            self.let_go(endings)  # the worker stops, and its patience is over
        except Exception:
            log.exception("settle_failed", count=len(endings))
            if len(endings) == 1:
                self.let_go(endings)
                return
            for running in endings:
                self._settle([running])

    def _settle_together(self, endings: list[Running]) -> None:
        """Settle a batch; what something stands in the way of is tried again, a bounded number of times."""
        judged = [(running, self._verdict(running)) for running in endings]
        settlements = [Settlement(r.attempt.job_id, r.attempt.number, verdict) for r, verdict in judged if verdict]
        accepted, again = self._ledger.settle(settlements, 5.0 if self._closing else math.inf)
        reached("settle.let_go")
        with self._news:
            for running in endings:
                running.settle_tries += 1
                if _key(running) in again and running.settle_tries < MOST_TRIES:
                    self._endings.append(running)
                else:
                    self._running.pop(_key(running), None)
            judged = [one for one in judged if one[0] not in self._endings]
        counted = [(running, verdict if _key(running) in accepted else None) for running, verdict in judged]
        for running, verdict in counted:
            self._conclude(running, verdict)
        tell(counted)

    def _verdict(self, running: Running) -> Verdict | None:
        """Return what the ending means. A fenced attempt is judged as well: the database refuses it, and keeps that."""
        ending = running.ending
        if ending is None:
            return None
        try:
            policy = self._catalogue[running.attempt.task].policy
        except UnknownTask:
            policy = RetryPolicy()
        return judge(running.attempt, ending, policy, cancel_asked=running.cancel_seen_at is not None)

    def _conclude(self, running: Running, verdict: Verdict | None) -> None:
        self._counting.ended(running, verdict)
        if verdict is not None and running.ending is not None and is_without_word(running.ending):
            try:
                self.killed(running.attempt, running.ending)
            except Exception:  # it is settled, and nothing that looks on may undo that
                log.exception("killed_attempt_not_told", **logs.facts_of(running.attempt))
        if self.watched:
            self.settled.append(Settled(running, verdict))


def _key(running: Running) -> tuple[JobId, int]:
    return running.attempt.job_id, running.attempt.number
