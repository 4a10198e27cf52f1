"""What clients were told, held to the tables: the reason for the rest."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from jobs.model import JobId
from jobs.state import Event
from tests.chaos.history import JobRow, Life, Promise, Terms
from tests.chaos.invariant import Findings, Meaning, Register, RunFindings, of_a_job, of_the_run
from tests.chaos.ledger import Call, Status, Submission, is_documented

#: The events of which an acknowledged call must have left one.
TRACES = {
    Call.CANCEL: {"cancel", "cancel_requested"},
    Call.RETRY: {"redrive"},
    Call.REPLAY: {"replayed"},
    Call.DISCARD: {"discarded"},
}


@of_a_job("acknowledged-kept", Meaning.LOSS)
def acknowledged_kept(life: Life, _: Terms) -> Findings:
    """No job is lost of which a client was told that it is accepted."""
    told = [promise for promise in life.promises if promise.submission.status is Status.ACKNOWLEDGED]
    if told:
        yield None if life.job else f"was acknowledged at {told[0].submission.answered_at}, and is not there"


@of_a_job("kept-as-asked")
def kept_as_asked(life: Life, _: Terms) -> Findings:
    """An acknowledged job is the one that was asked for, stored by the request that was told so."""
    if life.job is None:
        return
    for promise in life.promises:
        for name, asked, kept in _compared(promise, life.job, life):
            yield None if asked == kept else f"{name} was to be {asked}, and is {kept}"


def _compared(promise: Promise, job: JobRow, life: Life) -> Iterator[tuple[str, Any, Any]]:
    """Go through what the client said, each beside what is kept of it."""
    submission, wanted = promise.submission, promise.wanted
    if submission.request_id is not None and not submission.replayed:
        yield "request_id", submission.request_id, job.request_id
    if wanted is None:
        return
    for name in ("task", "queue", "priority", "unique_key"):
        asked = getattr(wanted, name)
        if asked is not None:
            yield name, asked, getattr(job, name)
    if wanted.payload is not None:
        yield "payload", wanted.payload, json.loads(job.payload)
    if any(event.name in {Event.RETRY, Event.REDRIVE} for event in life.events):
        return  # these write anew what follows
    yield "expires_at", wanted.expires_at, job.expires_at
    if wanted.run_at is not None:
        yield "run_at", max(wanted.run_at, job.created_at), job.run_at
    if wanted.delay_seconds is not None:
        yield "run_at", job.created_at + timedelta(seconds=wanted.delay_seconds), job.run_at


@of_a_job("calls-on-record", Meaning.LOSS)
def calls_on_record(life: Life, _: Terms) -> Findings:
    """An operator's call that was acknowledged is in the job's history, once for each."""
    for call, names in TRACES.items():
        done = sum(one.call is call and one.status is Status.ACKNOWLEDGED for one in life.operations)
        if not done:
            continue
        left = sum(event.name in names for event in life.events)
        # A cancel may be asked for again, and a job that did not fail is replayed without a trace of its own.
        needed = done if call in {Call.RETRY, Call.DISCARD} else 1
        if call is not Call.REPLAY or any(event.state == "failed" for event in life.events):
            yield None if left >= needed else f"{done} {call} acknowledged, and {left} on record"


@of_a_job("calls-only-as-asked", Meaning.DOUBLING)
def calls_only_as_asked(life: Life, terms: Terms) -> Findings:
    """An operator's call that was refused left nothing, and one whose outcome nobody learned was done once or not.

    So a history has as many traces of a call as were acknowledged, and at most one more for each try in the dark.
    """
    for call, names in TRACES.items():
        left = sum(event.name in names for event in life.events) if terms.has_ledger else 0
        if not left:
            continue
        asked = [one for one in life.operations if one.call is call and one.status is not Status.REFUSED]
        # All tries of one replay have one key. A cancel of what runs may leave two: that it was asked for, and done.
        most = len({one.key or place for place, one in enumerate(asked)}) * (2 if call is Call.CANCEL else 1)
        yield f"{len(asked)} {call} not refused, and {left} on record" if left > most else None


@of_the_run("replays-once", Meaning.DOUBLING)
def replays_once(register: Register) -> RunFindings:
    """A job is replayed once for each key under which that was asked for, however many tries there were of it."""
    if not register.history.terms.has_ledger:
        return
    asked: dict[JobId | None, dict[str | None, set[JobId]]] = defaultdict(lambda: defaultdict(set))
    for one in register.history.ledger.operations:
        if one.call is Call.REPLAY and one.status is not Status.REFUSED:
            asked[one.job_id][one.key] |= {one.new_job_id} if one.new_job_id else set()
    made = Counter(source for source in register.replay_of.values() if source is not None)
    for source in asked.keys() | made.keys():
        keys = asked[source]
        once = made[source] <= len(keys) and all(len(named) <= 1 for named in keys.values())
        yield source, None if once else f"was asked for under {len(keys)} keys, and made {made[source]} jobs"


@of_the_run("answers-as-documented")
def answers_as_documented(register: Register) -> RunFindings:
    """Of the 5xx a client sees only a 503 that says why and when to come back: a 500 is a defect, whatever broke."""
    ledger = register.history.ledger
    for one in (*ledger.submissions, *ledger.operations):
        if one.code is not None:
            is_meant = register.history.terms.has_bugs and one.code == HTTPStatus.INTERNAL_SERVER_ERROR
            right = is_meant or is_documented(one.code, one.problem, says_when=one.says_when)
            when = "with" if one.says_when else "without"
            yield None, None if right else f"at {one.sent_at} {one.code} {one.problem or ''}, {when} a Retry-After"


@of_the_run("replays-have-a-source", Meaning.LOSS)
def replays_have_a_source(register: Register) -> RunFindings:
    """A replay is a new job that names the one it repeats, and every acknowledged one is there."""
    for job_id, source in register.replay_of.items():
        if source is not None:
            yield job_id, None if source in register.replay_of else f"replays {source}, which is not there"
    for one in register.history.ledger.operations:
        if one.call is Call.REPLAY and one.status is Status.ACKNOWLEDGED and one.new_job_id is not None:
            right = register.replay_of.get(one.new_job_id) == one.job_id
            yield one.new_job_id, None if right else f"was told to replay {one.job_id}"


@of_the_run("one-key-one-job", Meaning.DOUBLING)
def one_key_one_job(register: Register) -> RunFindings:
    """Every answer under one idempotency key names the same jobs, and no try of it stored others."""
    tries: dict[str, list[Submission]] = defaultdict(list)
    for submission in register.history.ledger.submissions:
        if submission.key is not None:
            tries[submission.key].append(submission)
    for key, same in tries.items():
        named = {one.job_ids for one in same if one.status is Status.ACKNOWLEDGED and one.job_ids}
        first = min(min(named)) if named else None
        stored = _stored_by(register, same)
        once = len(named) <= 1 and len(stored) <= max(len(one.jobs) for one in same)
        yield first, None if once else f"key {key!r} stored {len(stored)} jobs, and has {len(named)} different answers"


def _stored_by(register: Register, tries: Sequence[Submission]) -> set[JobId]:
    requests = {one.request_id for one in tries if one.request_id is not None}
    return {job_id for request in requests for job_id in register.by_request.get(request, ())}


@of_the_run("one-key-one-request")
def one_key_one_request(register: Register) -> RunFindings:
    """No two different requests were accepted under one idempotency key."""
    accepted: dict[str, set[str]] = defaultdict(set)
    for one in register.history.ledger.submissions:
        if one.key is not None and one.fingerprint is not None and one.status is Status.ACKNOWLEDGED:
            accepted[one.key].add(one.fingerprint)
    for key, requests in accepted.items():
        yield None, f"key {key!r} accepted {len(requests)} different requests" if len(requests) > 1 else None


@of_the_run("keys-on-record", Meaning.LOSS)
def keys_on_record(register: Register) -> RunFindings:
    """The receipts that are kept under an idempotency key are those that were given, for as long as the key is kept."""
    kept = defaultdict(set)
    for row in register.history.keys:
        kept[row.key].add(row.job_ids)
    for one in register.history.ledger.submissions:
        if one.key is not None and one.status is Status.ACKNOWLEDGED and one.job_ids:
            right = one.job_ids in kept[one.key]
            yield one.job_ids[0], None if right else f"key {one.key!r} keeps {kept[one.key] or 'nothing'}"
    for row in register.history.keys:
        missing = [job_id for job_id in row.job_ids if job_id not in register.replay_of]
        yield None, f"key {row.key!r} keeps {missing}, which are not there" if missing else None


@of_the_run("requests-whole", Meaning.LOSS)
def requests_whole(register: Register) -> RunFindings:
    """A request stored all of its jobs or none."""
    for one in register.history.ledger.submissions:
        if one.request_id is not None and one.jobs:
            stored = register.by_request.get(one.request_id, [])
            right = len(stored) in {0, len(one.jobs)}
            yield (
                next(iter(stored), None),
                None if right else f"request {one.request_id} stored {len(stored)} of {len(one.jobs)}",
            )


@of_the_run("refused-left-nothing", Meaning.DOUBLING)
def refused_left_nothing(register: Register) -> RunFindings:
    """A request that was refused stored nothing."""
    for one in register.history.ledger.submissions:
        if one.status is Status.REFUSED and one.request_id is not None:
            stored = register.by_request.get(one.request_id, [])
            yield (
                next(iter(stored), None),
                f"request {one.request_id} was refused, and stored {len(stored)}" if stored else None,
            )
