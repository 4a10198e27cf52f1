"""The other ways in which an invariant breaks, and histories that look wrong and are not."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.state import Event, JobState, Outcome, Reason
from tests.chaos.ledger import Call, Status, Wanted
from tests.chaos.report import KEPT, Report
from tests.chaos.tales import (
    DAWN,
    UNKNOWN_ID,
    Tale,
    acknowledged,
    judged,
    key_row,
    operated,
    refused,
    with_attempt,
    with_event,
)

HOUR = timedelta(hours=1)
DONE = Tale().start().succeed()
OTHER = Tale().start().succeed()
DEAD = Tale().start().fail()
TRIED_TWICE = Tale().start().err().move(Event.ENQUEUE).start().succeed()


def throttled() -> Tale:
    """Return a job that was put off once."""
    tale = Tale(throttle_count=1).start().end(Event.RETRY, Outcome.INTERRUPTED)
    return tale.move(Event.ENQUEUE).start().succeed()


def retried(*, waits: float) -> Tale:
    """Return a job that is due again after so many seconds, and starts after two."""
    tale = Tale().start().err()
    tale.job["run_at"] = tale.now + timedelta(seconds=waits)
    return tale.move(Event.ENQUEUE).start().succeed()


def held_twice(*, apart: float) -> Report:
    """Return what is said of two jobs with one key: the second starts so long after the end of the first."""
    first = Tale(unique_key="one").start().succeed()
    second = Tale(unique_key="one", at=first.now - timedelta(seconds=0.5)).wait(apart - 0.5)
    return judged(first, second.start().succeed())


def asked(kept: dict[str, Any], **facts: Any) -> Report:
    """Return what is said of a job that is kept as `kept`, of which the client asked for `facts`."""
    job = Tale(request_id="r", **kept)
    given: dict[str, Any] = {"task": "chaos.quick"}
    return judged(job, ledger=[acknowledged(job.id, request_id="r", jobs=(Wanted(**given | facts),))])


def told_by_another_request() -> Report:
    """Return what is said of a fresh answer for a job that another request had stored."""
    job = Tale(request_id="another")
    return judged(job, ledger=[acknowledged(job.id, request_id="r", jobs=())])


def stored_by_both_tries() -> Report:
    """Return what is said of a key whose first try was not answered, and stored a job as the second did."""
    first, second = Tale(request_id="r1"), Tale(request_id="r2")
    unanswered = acknowledged(
        key="k", request_id="r1", status=Status.UNKNOWN, answered_at=None, jobs=(Wanted(task="chaos.quick"),)
    )
    answered = acknowledged(second.id, key="k", request_id="r2")
    return judged(first, second, ledger=[unanswered, answered], keys=[key_row("k", second.id)])


def ran_on_after(event: Event, outcome: Outcome) -> Report:
    """Return what is said of a function that lives for a minute after its attempt ended thus."""
    return judged(Tale().start().run(ended=None, how=None, alive=60).end(event, outcome), fence_seconds=4)


def held_still() -> Report:
    """Return what is said of a function whose process is held still for a minute in which its job is rescued."""
    return judged(Tale().start().run(ended=60, alive=5).lose().start().succeed(), fence_seconds=4)


def twice_after(*statuses: Status) -> Report:
    """Return what is said of a job that was sent to work again twice, after calls that ended thus."""
    job = Tale().start().fail().redrive().start().fail().redrive().start().succeed()
    return judged(job, ledger=[operated(Call.RETRY, job.id, status=one) for one in statuses], has_ledger=True)


def replayed_again(**facts: Any) -> Report:
    """Return what is said of a dead letter of whose replay two tries were answered, the second with `facts`."""
    dead = Tale(closed_at=DAWN).start().fail().tell("replayed")
    copy = Tale(replay_of=dead.id)
    named: dict[str, Any] = {"new_job_id": copy.id, "key": "k"}
    calls = [operated(Call.REPLAY, dead.id, **named | more) for more in ({}, facts)]
    return judged(dead, copy, ledger=calls, has_ledger=True)


#: Another way to break each of these invariants.
BROKEN: list[tuple[str, Report]] = [
    ("events-numbered", judged(Tale().tell("accept"))),
    ("transitions-legal", judged(Tale(state=JobState.RETRYING))),
    ("transitions-legal", judged(DONE.life(state=JobState.FAILED))),
    ("transitions-legal", judged(Tale().tell("polished", state=JobState.CANCELLED))),
    ("one-completion", judged(with_attempt(TRIED_TWICE.life(), 1, outcome=Outcome.SUCCEEDED))),
    ("attempts-numbered", judged(with_event(DONE.life(), 2, attempt=2))),
    ("attempts-numbered", judged(replace(DONE.life(), attempts=[]))),
    ("attempts-ended", judged(with_attempt(Tale().start().life(), 1, outcome=Outcome.LOST, finished_at=DAWN))),
    ("attempts-apart", judged(with_attempt(TRIED_TWICE.life(), 1, finished_at=None))),
    ("outcomes-told", judged(with_event(DONE.life(), 3, facts=None))),
    ("counts-agree", judged(DONE.life(crash_count=1))),
    ("counts-agree", judged(throttled().life(throttle_count=0))),
    ("counts-agree", judged(Tale().start().fail().redrive().start().succeed().life(error_count=1))),
    ("dead-letters-explained", judged(DEAD.life(error_type=None))),
    ("dead-letters-explained", judged(DEAD.life(reason=None))),
    ("dead-letters-explained", judged(Tale().start().fail(Reason.CRASHED, Outcome.LOST))),
    ("dead-letters-closed-on-record", judged(Tale().start().fail().tell("replayed"))),
    ("not-before-run-at", judged(retried(waits=60))),
    ("not-before-run-at", judged(Tale(run_at=DAWN + timedelta(seconds=1)).start().run(began=-0.5).succeed())),
    ("not-after-expiry", judged(Tale(expires_at=DAWN + HOUR).move(Event.EXPIRE))),
    ("nothing-starts-after-an-end", judged(Tale().move(Event.CANCEL).run())),
    ("unique-key-held-once", held_twice(apart=-0.3)),
    ("attempts-run-once", judged(Tale().run())),
    ("extra-executions-explained", judged(with_attempt(Tale().start().run().err().life(), 1, outcome=None))),
    ("runs-within-its-attempt", judged(Tale().start().run(ended=5).err())),
    ("stops-when-fenced", ran_on_after(Event.CANCEL, Outcome.CANCELLED)),
    ("stops-when-fenced", ran_on_after(Event.RELEASE, Outcome.INTERRUPTED)),
    ("success-was-run", judged(Tale().start().run(how="ValueError").end(Event.SUCCEED, Outcome.SUCCEEDED))),
    ("result-of-the-accepted", judged(DEAD.life(has_result=True))),
    ("result-of-the-accepted", judged(with_attempt(DONE.life(), 1, outcome=Outcome.LOST))),
    ("result-of-the-accepted", judged(DONE.life(result_job_id=str(UNKNOWN_ID)))),
    ("kept-as-asked", told_by_another_request()),
    ("kept-as-asked", asked({}, payload={"n": 1})),
    ("kept-as-asked", asked({}, queue="fast")),
    ("kept-as-asked", asked({}, priority=9)),
    ("kept-as-asked", asked({}, unique_key="one")),
    ("kept-as-asked", asked({}, expires_at=DAWN + HOUR)),
    ("kept-as-asked", asked({}, run_at=DAWN + HOUR)),
    ("kept-as-asked", asked({}, delay_seconds=60.0)),
    ("calls-on-record", judged(DEAD, ledger=[operated(Call.RETRY, DEAD.id)])),
    ("calls-on-record", judged(DEAD, ledger=[operated(Call.DISCARD, DEAD.id)])),
    ("calls-on-record", judged(DEAD, ledger=[operated(Call.REPLAY, DEAD.id)])),
    ("calls-only-as-asked", twice_after(Status.ACKNOWLEDGED)),
    ("calls-only-as-asked", twice_after(Status.ACKNOWLEDGED, Status.REFUSED)),
    ("calls-only-as-asked", judged(Tale().start().fail().tell("discarded").life(closed_at=DAWN), has_ledger=True)),
    ("calls-only-as-asked", judged(Tale().move(Event.CANCEL), has_ledger=True)),
    ("answers-as-documented", judged(ledger=[refused(code=503, problem="busy")])),
    ("answers-as-documented", judged(ledger=[refused(code=503, says_when=True)])),
    ("answers-as-documented", judged(ledger=[refused(code=504, says_when=True, problem="busy")])),
    ("answers-as-documented", judged(ledger=[refused(code=429, problem="quota-exceeded")])),
    ("replays-once", replayed_again(new_job_id=UNKNOWN_ID)),
    ("replays-have-a-source", judged(DEAD, ledger=[operated(Call.REPLAY, DEAD.id, new_job_id=UNKNOWN_ID)])),
    ("one-key-one-job", stored_by_both_tries()),
    ("keys-on-record", judged(keys=[key_row("k", UNKNOWN_ID)])),
]


@pytest.mark.parametrize("place", range(len(BROKEN)), ids=[name for name, _ in BROKEN])
def test_it_is_caught_in_its_other_forms(place: int) -> None:
    name, report = BROKEN[place]

    assert name in report.broken


def cancelled_twice() -> Report:
    """Return what is said of a job whose cancel was asked for again while its attempt ended."""
    job = Tale().start().tell("cancel_requested").end(Event.CANCEL, Outcome.CANCELLED)
    return judged(job, ledger=[operated(Call.CANCEL, job.id)] * 2)


def answered_at_the_second_try() -> Report:
    """Return what is said of a job that the first try stored and the second was told of."""
    job = Tale(request_id="r1")
    unanswered = acknowledged(
        key="k", request_id="r1", status=Status.UNKNOWN, answered_at=None, jobs=(Wanted(task="chaos.quick"),)
    )
    answered = acknowledged(job.id, key="k", request_id="r2", replayed=True)
    return judged(job, ledger=[unanswered, answered], keys=[key_row("k", job.id)])


#: Nothing is wrong with these.
LEGAL: dict[str, Report] = {
    "a job that was put off": judged(throttled()),
    "a job that was sent to work again": judged(Tale().start().fail().redrive().start().succeed()),
    "a retry that an operator did not wait for": judged(Tale().start().err().redrive().start().succeed()),
    "a retry that waited": judged(retried(waits=1)),
    "a job whose function returned after it was rescued": judged(Tale().start().run(ended=15).lose().start().succeed()),
    "a function that was held still": held_still(),
    "a job that runs": judged(Tale().start().run(ended=None, how=None)),
    "a key that was taken while its holder's end was on the way": held_twice(apart=0.7),
    "a cancel that was asked for twice": cancelled_twice(),
    "a result that was too large": judged(DONE.life(result_job_id=None, result_attempt=None)),
    "an answer at the second try": answered_at_the_second_try(),
    "a delay that was kept": asked({"run_at": DAWN + HOUR}, delay_seconds=3600.0),
    "a retry of which nobody learned": twice_after(Status.ACKNOWLEDGED, Status.UNKNOWN),
    "a retry that was answered at its second try": twice_after(Status.UNKNOWN, Status.ACKNOWLEDGED),
    "a replay that was answered at its second try": replayed_again(),
    "an instant in the past": asked({}, run_at=DAWN - HOUR),
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_only_looks_wrong_passes(name: str) -> None:
    assert LEGAL[name].violations == []


def test_what_is_lost_doubled_unknown_and_fenced_is_counted() -> None:
    twice = Tale().start().succeed().start().succeed()
    fenced = Tale().start().run(ended=15).lose().start().tell("fenced", fenced_attempt=1, outcome="succeeded").succeed()

    counts = judged(twice, fenced, ledger=[acknowledged(UNKNOWN_ID), acknowledged(twice.id)]).counts
    second_try = answered_at_the_second_try().counts

    assert (counts.jobs, counts.acknowledged, counts.lost, counts.doubled, counts.fenced) == (2, 2, 1, 1, 1)
    assert (counts.executions, counts.extra_executions, counts.explained) == (4, 1, {"lost": 1})
    assert (second_try.unknown, second_try.unknown_but_present) == (1, 1)


def test_a_report_holds_the_first_violations_and_counts_the_rest() -> None:
    report = judged(*(Tale() for _ in range(KEPT + 5)), drained=True)

    assert report.broken == {"drained": KEPT + 5}
    assert len(report.violations) == KEPT
