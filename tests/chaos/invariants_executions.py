"""What tasks really did, by their own word, held to the attempts that the tables know."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from jobs.state import JobState, Outcome
from tests.chaos.history import AttemptRow, Life, Terms
from tests.chaos.invariant import Findings, Meaning, of_a_job
from tests.chaos.recorder import PREFIX, RETURNED

KNOWN_TO_HAVE_ENDED: Final = frozenset({Outcome.SUCCEEDED, Outcome.ERRORED, Outcome.TIMED_OUT})
"""Outcomes that a worker learns from the end of the function. A stopping one gives back, and cancels, what runs."""
NEVER_BEGUN_AFTER: Final = KNOWN_TO_HAVE_ENDED | {Outcome.CANCELLED}
GIVEN_UP: Final = frozenset({Outcome.LOST, Outcome.INTERRUPTED, Outcome.CANCELLED})
"""Outcomes that an attempt can have while its function runs."""
ASKED: Final = "cancel_requested"


@of_a_job("attempts-run-once", Meaning.DOUBLING)
def attempts_run_once(life: Life, _: Terms) -> Findings:
    """What was run belongs to an attempt on record, and no attempt was run twice."""
    for number, times in Counter(execution.attempt for execution in life.executions).items():
        known = number in life.attempt_by_number
        yield None if known and times == 1 else f"attempt {number} {'ran' if known else 'is unknown and ran'} {times}x"


@of_a_job("extra-executions-explained", Meaning.DOUBLING)
def extra_executions_explained(life: Life, terms: Terms) -> Findings:
    """An execution whose attempt did not succeed is explained by how that attempt ended, and counted for nothing.

    Either the attempt is on record with another outcome, or the job is still in it. One whose function went on after
    it was given up must have been lost or released: in no other way does a job pass to another attempt meanwhile.
    """
    if life.job is None:
        return
    for execution in life.executions:
        attempt = life.attempt_by_number.get(execution.attempt)
        if attempt is None or attempt.outcome == Outcome.SUCCEEDED:
            continue
        in_it = attempt.outcome is None and life.job.state == JobState.RUNNING and life.job.attempt == attempt.number
        yield None if attempt.outcome or in_it else f"attempt {attempt.number} ran, and has no outcome"
        later = [one.began_at for one in life.executions if one.attempt > execution.attempt]
        until = (execution.ended_at or execution.began_at) - terms.clocks_apart_seconds
        beside = bool(later) and until > min(later)
        unexplained = beside and attempt.outcome not in {Outcome.LOST, Outcome.INTERRUPTED}
        yield f"attempt {attempt.number} ran beside a later one, and is {attempt.outcome}" if unexplained else None


@of_a_job("runs-within-its-attempt")
def runs_within_its_attempt(life: Life, terms: Terms) -> Findings:
    """A function begins after its attempt did, and has ended when its worker says how."""
    for execution in life.executions:
        attempt = life.attempt_by_number.get(execution.attempt)
        if attempt is None:
            continue
        early = attempt.started_at.timestamp() - execution.began_at
        yield f"attempt {attempt.number} ran {early:.3f} s early" if early > terms.clocks_apart_seconds else None
        if attempt.finished_at is None or attempt.outcome not in NEVER_BEGUN_AFTER:
            continue
        ended_at = execution.ended_at if attempt.outcome in KNOWN_TO_HAVE_ENDED else None
        late = max(execution.began_at, ended_at or 0.0) - attempt.finished_at.timestamp()
        wrong = late > terms.clocks_apart_seconds
        yield f"attempt {attempt.number} is {attempt.outcome}, and ran {late:.3f} s longer" if wrong else None


@of_a_job("stops-when-cancelled")
def stops_when_cancelled(life: Life, terms: Terms) -> Findings:
    """A function whose cancel was asked for has stopped by the deadline of the ladder: asked, interrupted, killed.

    Counted is the time in which it gave signs of life: while its process was held still it did nothing.
    """
    for event in life.events:
        if event.name == ASKED:
            for ran in _ran_on(life, event.attempt, event.at, terms):
                after = "after its cancel was asked for"
                yield f"attempt {event.attempt} ran for {ran:.1f} s {after}" if ran > terms.cancel_seconds else None


@of_a_job("stops-when-fenced")
def stops_when_fenced(life: Life, terms: Terms) -> Findings:
    """A function whose attempt was given up, by a rescue, a release or a cancel, stops once its worker can hear of it.

    Its worker hears at its next heartbeat, and kills what goes on. Counted is the time in which the function gave
    signs of life, and in which its worker was not cut off from PostgreSQL.
    """
    for attempt, ran in outlived(life, terms):
        after = f"after it was {attempt.outcome}"
        yield f"attempt {attempt.number} ran for {ran:.1f} s {after}" if ran > terms.fence_seconds else None


def outlived(life: Life, terms: Terms) -> Iterator[tuple[AttemptRow, float]]:
    """Go through the executions of attempts that were given up, each with the seconds for which it ran on."""
    for attempt in life.attempts:
        if attempt.outcome in GIVEN_UP and attempt.finished_at is not None:
            for ran in _ran_on(life, attempt.number, attempt.finished_at, terms):
                yield attempt, ran


def _ran_on(life: Life, number: int, since: datetime, terms: Terms) -> Iterator[float]:
    for execution in life.executions:
        if execution.attempt == number:
            yield execution.ran_after(since.timestamp(), life.deaf(number, terms))


@of_a_job("success-was-run", Meaning.LOSS)
def success_was_run(life: Life, terms: Terms) -> Findings:
    """An attempt that succeeded was run, and its function returned."""
    if life.job is None or not life.job.task.startswith(PREFIX) or not terms.has_executions:
        return
    for attempt in life.attempts:
        if attempt.outcome == Outcome.SUCCEEDED:
            how = [execution.how for execution in life.executions if execution.attempt == attempt.number]
            yield None if RETURNED in how else f"attempt {attempt.number} succeeded, and its executions ended {how}"


@of_a_job("result-of-the-accepted")
def result_of_the_accepted(life: Life, _: Terms) -> Findings:
    """A job has a result only when its latest attempt succeeded, and the result is of that attempt."""
    if life.job is None:
        return
    job, last = life.job, life.attempt_by_number.get(life.job.attempt)
    if job.state != JobState.SUCCEEDED:
        yield f"is {job.state}, and has a result" if job.has_result else None
        return
    outcome = last.outcome if last else None
    yield None if outcome == Outcome.SUCCEEDED else f"succeeded, and attempt {job.attempt} is {outcome}"
    if job.task.startswith(PREFIX) and job.result_job_id is not None:
        whose = (job.result_job_id, job.result_attempt)
        right = whose == (str(job.id), str(job.attempt))
        yield None if right else f"attempt {job.attempt} succeeded, and the result is of {whose[0]}, attempt {whose[1]}"
