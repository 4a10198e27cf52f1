"""What the rows of one job say of each other: events, attempts and counts are one story told three times."""

import itertools
from collections.abc import Mapping
from typing import Final

from jobs.state import FINAL, INITIAL, TRANSITIONS, Event, JobState, Outcome, Reason, Transition
from tests.chaos.history import AttemptRow, EventRow, Life, Terms
from tests.chaos.invariant import Findings, Meaning, of_a_job

ACCEPT: Final = "accept"
CANCEL_REQUESTED: Final = "cancel_requested"
FENCED: Final = "fenced"

EDGES: Final[Mapping[str, Transition]] = {event.value: transition for event, transition in TRANSITIONS.items()}
"""By the name that an event is stored under; one that is not here moves no job."""

#: How an attempt may have ended, by the event that its end was for the job.
OUTCOMES: Final[Mapping[str, frozenset[str]]] = {
    Event.SUCCEED: frozenset({Outcome.SUCCEEDED}),
    Event.RETRY: frozenset({Outcome.ERRORED, Outcome.TIMED_OUT, Outcome.INTERRUPTED}),
    Event.FAIL: frozenset({Outcome.ERRORED, Outcome.TIMED_OUT, Outcome.LOST}),
    Event.RELEASE: frozenset({Outcome.INTERRUPTED}),
    Event.RESCUE: frozenset({Outcome.LOST}),
    Event.CANCEL: frozenset({Outcome.CANCELLED, Outcome.LOST}),
}
#: How the last attempt of a dead letter ended, by the reason that it has.
LAST_OUTCOMES: Final[Mapping[str, frozenset[str]]] = {
    Reason.EXHAUSTED: frozenset({Outcome.ERRORED, Outcome.TIMED_OUT}),
    Reason.PERMANENT: frozenset({Outcome.ERRORED}),
    Reason.CRASHED: frozenset({Outcome.LOST}),
}


@of_a_job("no-orphans", Meaning.LOSS)
def no_orphans(life: Life, _: Terms) -> Findings:
    """Every event and every attempt belongs to a job that is there."""
    left = [kind for kind, rows in (("events", life.events), ("attempts", life.attempts)) if rows]
    if life.job or left:
        yield None if life.job else f"{' and '.join(left)} without a job"


@of_a_job("events-numbered")
def events_numbered(life: Life, _: Terms) -> Findings:
    """Events are numbered from 1 without gaps, begin with `accept`, and are as many as the job says."""
    if life.job is None:
        return
    numbers = [event.seq for event in life.events]
    right = numbers == list(range(1, life.job.event_count + 1))
    yield None if right else f"events {numbers}, and the job counts {life.job.event_count}"
    names = [event.name for event in life.events]
    yield None if names[:1] == [ACCEPT] and names.count(ACCEPT) == 1 else f"the events are {names}"


@of_a_job("events-in-order")
def events_in_order(life: Life, terms: Terms) -> Findings:
    """No event is older than the one before it."""
    for before, after in itertools.pairwise(life.events):
        back = (before.at - after.at).total_seconds()
        yield f"{after.name} ({after.seq}) is {back:.3f} s older" if back > terms.clocks_apart_seconds else None


@of_a_job("transitions-legal")
def transitions_legal(life: Life, _: Terms) -> Findings:
    """Each event moves the job along an edge of the transition table, or not at all; the last leaves it where it is."""
    if life.job is None or not life.events:
        return
    first, last = life.events[0], life.events[-1]
    yield None if first.state in INITIAL else f"was born {first.state}"
    for before, after in itertools.pairwise(life.events):
        yield None if _is_edge(before, after) else f"{before.state} --{after.name}--> {after.state} ({after.seq})"
    yield None if last.state == life.job.state else f"the last event left it {last.state}, it is {life.job.state}"


def _is_edge(before: EventRow, after: EventRow) -> bool:
    transition = EDGES.get(after.name)
    if transition is None:
        return after.state == before.state
    return before.state in transition.sources and after.state == transition.target


@of_a_job("final-is-final", Meaning.DOUBLING)
def final_is_final(life: Life, _: Terms) -> Findings:
    """A job that reached a final state leaves it by a redrive alone."""
    for before, after in itertools.pairwise(life.events):
        if before.state in FINAL:
            left = after.state != before.state and after.name != Event.REDRIVE
            yield f"{before.state}, and then {after.name} ({after.seq})" if left else None


@of_a_job("one-completion", Meaning.DOUBLING)
def one_completion(life: Life, _: Terms) -> Findings:
    """At most one attempt is accepted as the one that did the work, in each drive."""
    done = [[event.seq for event in drive if event.name == Event.SUCCEED] for drive in life.drives]
    accepted = [attempt.number for attempt in life.attempts if attempt.outcome == Outcome.SUCCEEDED]
    once = all(len(events) <= 1 for events in done) and len(accepted) <= len(life.drives)
    yield None if once else f"succeeded by attempts {accepted}, events {done}"


@of_a_job("attempts-numbered")
def attempts_numbered(life: Life, _: Terms) -> Findings:
    """Attempts are numbered from 1 without gaps, as far as the job says, and each has its own `start`."""
    if life.job is None:
        return
    numbers = [attempt.number for attempt in life.attempts]
    right = numbers == list(range(1, life.job.attempt + 1))
    yield None if right else f"attempts {numbers}, and the job counts {life.job.attempt}"
    starts = [event.attempt for event in life.events if event.name == Event.START]
    yield None if starts == numbers else f"attempts {numbers}, and starts of {starts}"
    for before, after in itertools.pairwise(life.events):
        step = 1 if after.name == Event.START else 0
        wrong = after.attempt != before.attempt + step
        yield f"{after.name} ({after.seq}) tells of attempt {after.attempt} after {before.attempt}" if wrong else None


@of_a_job("attempts-ended")
def attempts_ended(life: Life, _: Terms) -> Findings:
    """Every attempt has an outcome, but for the one that a running job is in."""
    if life.job is None:
        return
    for attempt in life.attempts:
        runs = life.job.state == JobState.RUNNING and attempt.number == life.job.attempt
        if runs != (attempt.outcome is None):
            yield f"attempt {attempt.number} has outcome {attempt.outcome}, and the job is {life.job.state}"
        else:
            yield None


@of_a_job("attempts-apart", Meaning.DOUBLING)
def attempts_apart(life: Life, terms: Terms) -> Findings:
    """An attempt begins only after the one before it has ended."""
    for before, after in itertools.pairwise(life.attempts):
        ended = before.finished_at
        apart = ended is not None and (ended - after.started_at).total_seconds() <= terms.clocks_apart_seconds
        yield None if apart else f"attempt {after.number} began at {after.started_at}, {before.number} ended {ended}"


def endings(life: Life) -> list[tuple[AttemptRow, EventRow]]:
    """Return each attempt that has ended with the event that its end was for the job."""
    found = []
    running = False
    for event in life.events:
        if running and event.name in OUTCOMES:
            attempt = life.attempt_by_number.get(event.attempt)
            if attempt is not None:
                found.append((attempt, event))
        running = event.state == JobState.RUNNING
    return found


@of_a_job("outcomes-told")
def outcomes_told(life: Life, _: Terms) -> Findings:
    """The event that ends an attempt tells its outcome, and one that such an event can have."""
    for attempt, event in endings(life):
        told = (event.facts or {}).get("outcome")
        fits = attempt.outcome in OUTCOMES[event.name] and told == attempt.outcome
        yield None if fits else f"attempt {attempt.number} is {attempt.outcome}, {event.name} tells {told}"


@of_a_job("counts-agree")
def counts_agree(life: Life, _: Terms) -> Findings:
    """The job's counts of errors, crashes and throttles are those of its attempts since it was last sent to work."""
    if life.job is None:
        return
    since = life.attempts_since_redrive()
    put_off = {attempt.number for attempt, event in endings(life) if event.name == Event.RETRY}
    counted = {
        "error": sum(attempt.outcome in {Outcome.ERRORED, Outcome.TIMED_OUT} for attempt in since),
        "crash": sum(attempt.outcome == Outcome.LOST for attempt in since),
        "throttle": sum(one.outcome == Outcome.INTERRUPTED and one.number in put_off for one in since),
    }
    stored = {"error": life.job.error_count, "crash": life.job.crash_count, "throttle": life.job.throttle_count}
    for name, count in counted.items():
        yield None if stored[name] == count else f"{name} count {stored[name]}, and {count} attempts say so"


@of_a_job("crashes-limited")
def crashes_limited(life: Life, terms: Terms) -> Findings:
    """No drive of a job takes more processes down than the limit allows."""
    for number, drive in enumerate(life.drives, 1):
        tried = {event.attempt for event in drive if event.name == Event.START}
        lost = sum(attempt.outcome == Outcome.LOST for attempt in life.attempts if attempt.number in tried)
        if lost:
            yield f"{lost} attempts of drive {number} were lost" if lost > terms.crash_limit else None


@of_a_job("dead-letters-explained")
def dead_letters_explained(life: Life, terms: Terms) -> Findings:
    """A failed job has an error and a reason that its last attempt bears out."""
    if life.job is None or life.job.state != JobState.FAILED:
        return
    job, last = life.job, life.attempt_by_number.get(life.job.attempt)
    yield None if job.reason and job.error_type else f"reason {job.reason}, error {job.error_type}"
    outcome = last.outcome if last else None
    allowed = LAST_OUTCOMES.get(job.reason or "")
    yield f"{job.reason}, and its last attempt {outcome}" if allowed and outcome not in allowed else None
    early = job.reason == Reason.CRASHED and job.crash_count < terms.crash_limit
    yield f"crashed after {job.crash_count} losses" if early else None


@of_a_job("dead-letters-closed-on-record")
def dead_letters_closed_on_record(life: Life, _: Terms) -> Findings:
    """A dead letter is off the list exactly when an event says who took it off: a replay or a discard."""
    if life.job is None or life.job.state != JobState.FAILED:
        return
    closing = [event.name for event in life.drives[-1] if event.name in {"replayed", "discarded"}]
    right = len(closing) == (life.job.closed_at is not None)
    yield None if right else f"closed at {life.job.closed_at}, and the events tell {closing}"


@of_a_job("cancel-kept")
def cancel_kept(life: Life, _: Terms) -> Findings:
    """A running job whose cancel was asked for is not tried again: it ends with that attempt."""
    again = {Event.START, Event.RETRY, Event.RELEASE, Event.RESCUE, Event.ENQUEUE}
    for drive in life.drives:
        asked = next((place for place, event in enumerate(drive) if event.name == CANCEL_REQUESTED), None)
        if asked is not None:
            went_on = [event.name for event in drive[asked:] if event.name in again]
            yield f"after the cancel was asked for: {went_on}" if went_on else None


@of_a_job("fenced-for-cause")
def fenced_for_cause(life: Life, terms: Terms) -> Findings:
    """An attempt's end is refused only when that attempt was over already."""
    for event in life.events:
        if event.name != FENCED:
            continue
        number = (event.facts or {}).get("fenced_attempt", 0)
        attempt = life.attempt_by_number.get(number)
        ended = attempt.finished_at if attempt else None
        over = ended is not None and (ended - event.at).total_seconds() <= terms.clocks_apart_seconds
        yield None if over else f"attempt {number} was fenced at {event.at}, and ended {ended}"


@of_a_job("drained", Meaning.LOSS)
def drained(life: Life, terms: Terms) -> Findings:
    """When a run has waited for the end of all work, every job is in a final state."""
    if life.job is not None and terms.drained:
        yield None if life.job.state in FINAL else f"is {life.job.state}"
