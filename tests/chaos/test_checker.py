"""Each invariant catches a small history that breaks it, and passes a legal one beside it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.state import Event, JobState, Outcome, Reason
from tests.chaos.invariant import OF_A_JOB, OF_THE_RUN, Meaning
from tests.chaos.ledger import Call, Operation, Status, Wanted
from tests.chaos.report import Report
from tests.chaos.tales import (
    DAWN,
    UNKNOWN_ID,
    Tale,
    acknowledged,
    governed,
    judged,
    key_row,
    operated,
    refused,
    with_attempt,
    with_event,
    without_event,
)

HOUR = timedelta(hours=1)
DONE = Tale().start().succeed()
TRIED_TWICE = Tale().start().err().move(Event.ENQUEUE).start().succeed()
LOST_ONCE = Tale().start().lose().start().succeed()
DEAD = Tale().start().fail()
RETRIED = Tale().start().fail().redrive().start().succeed()
CANCELLED = Tale().move(Event.CANCEL)


def tale(**facts: Any) -> Tale:
    """Return a job that waits for an hour."""
    return Tale(state=JobState.SCHEDULED, run_at=DAWN + HOUR, **facts)


def unique(**facts: Any) -> Tale:
    """Return a job with a unique key."""
    return Tale(unique_key="one", **facts)


def crashed(times: int) -> Tale:
    """Return a job that was lost so many times and failed with the last."""
    told = Tale()
    for _ in range(times - 1):
        told.start().lose()
    return told.start().fail(Reason.CRASHED, Outcome.LOST)


def asked(**facts: Any) -> Report:
    """Return what is said of a job of which the client asked for `facts`."""
    job = Tale(expires_at=DAWN + HOUR).start().succeed()
    given: dict[str, Any] = {"task": "chaos.quick", "expires_at": DAWN + HOUR, "payload": {}}
    return judged(job, ledger=[acknowledged(job.id, jobs=(Wanted(**given | facts),))])


def cancelled_after(alive: float) -> Report:
    """Return what is said of a job whose cancel is asked for, and whose function lives for so long."""
    return judged(
        Tale().start().run(ended=None, how=None, alive=alive).tell("cancel_requested").wait(30)
        .end(Event.CANCEL, Outcome.CANCELLED), cancel_seconds=4
    )  # fmt: skip


def lost_while_it_lived(alive: float) -> Report:
    """Return what is said of a job that is rescued 10 s after its start, and whose function lives for so long."""
    return judged(Tale().start().run(ended=None, how=None, alive=alive).lose().start().succeed(), fence_seconds=4)


def answered(code: int, problem: str | None, **facts: Any) -> Operation:
    """Return an operator's call that got such an answer."""
    return operated(Call.CANCEL, DONE.id, status=Status.of(code, problem), code=code, problem=problem, **facts)


def replayed(*keys: str, times: int = 1) -> Report:
    """Return what is said of a job that was replayed so often, by tries of which nobody learned what came of them."""
    calls = [operated(Call.REPLAY, DONE.id, status=Status.UNKNOWN, key=key) for key in keys]
    return judged(DONE, *(Tale(replay_of=DONE.id) for _ in range(times)), ledger=calls, has_ledger=True)


def started_while_paused(resumed: float | None) -> Report:
    """Return what is said of a job that starts a second after its queue is paused, which goes on after so many."""
    job = Tale().start().succeed()
    pause = governed(Call.PAUSE, at=0.0)
    calls = [pause] if resumed is None else [pause, governed(Call.RESUME, at=resumed)]
    return judged(job, ledger=calls, statement_seconds=0.1)


#: For each invariant: a legal history, and one that breaks it.
CASES: dict[str, tuple[Report, Report]] = {
    "no-orphans": (judged(DONE), judged(replace(DONE.life(), job=None))),
    "events-numbered": (judged(DONE), judged(without_event(DONE.life(), 2))),
    "events-in-order": (judged(DONE), judged(with_event(DONE.life(), 2, at=DAWN - HOUR))),
    "transitions-legal": (judged(TRIED_TWICE), judged(Tale().start().err().start().succeed())),
    "final-is-final": (
        judged(Tale().start().fail().redrive().start().succeed()),
        judged(Tale().start().fail().start()),
    ),
    "one-completion": (judged(DONE), judged(Tale().start().succeed().start().succeed())),
    "attempts-numbered": (judged(TRIED_TWICE), judged(DONE.life(attempt=2))),
    "attempts-ended": (judged(TRIED_TWICE), judged(with_attempt(TRIED_TWICE.life(), 1, outcome=None))),
    "attempts-apart": (judged(LOST_ONCE), judged(with_attempt(LOST_ONCE.life(), 1, finished_at=DAWN + HOUR))),
    "outcomes-told": (judged(TRIED_TWICE), judged(with_attempt(TRIED_TWICE.life(), 1, outcome=Outcome.LOST))),
    "counts-agree": (judged(TRIED_TWICE), judged(TRIED_TWICE.life(error_count=0))),
    "crashes-limited": (judged(crashed(3)), judged(crashed(4))),
    "dead-letters-explained": (judged(DEAD), judged(DEAD.life(reason=Reason.CRASHED))),
    "dead-letters-closed-on-record": (
        judged(Tale(closed_at=DAWN).start().fail().tell("discarded")),
        judged(DEAD.life(closed_at=DAWN)),
    ),
    "cancel-kept": (
        judged(Tale().start().tell("cancel_requested").end(Event.CANCEL, Outcome.CANCELLED)),
        judged(Tale().start().tell("cancel_requested").lose().start().succeed()),
    ),
    "fenced-for-cause": (
        judged(Tale().start().lose().start().tell("fenced", fenced_attempt=1, outcome="succeeded").succeed()),
        judged(Tale().start().tell("fenced", fenced_attempt=1, outcome="succeeded").succeed()),
    ),
    "drained": (judged(DONE, drained=True), judged(Tale(), drained=True)),
    "not-before-run-at": (
        judged(tale().wait(3600).move(Event.ENQUEUE).start().succeed()),
        judged(tale().move(Event.ENQUEUE)),
    ),
    "not-after-expiry": (
        judged(Tale(expires_at=DAWN + HOUR).start().succeed()),
        judged(Tale(expires_at=DAWN + HOUR).wait(3660).start().succeed()),
    ),
    "nothing-starts-while-paused": (started_while_paused(resumed=0.5), started_while_paused(resumed=None)),
    "nothing-starts-after-an-end": (
        judged(Tale().start().end(Event.CANCEL, Outcome.CANCELLED).redrive().start().succeed()),
        judged(Tale().move(Event.CANCEL).start()),
    ),
    "rescued-after-its-lease": (judged(LOST_ONCE), judged(LOST_ONCE, lease_seconds=60)),
    "unique-key-held-once": (
        judged(unique().start().succeed(), unique(at=DAWN + HOUR)),
        judged(unique(), unique(at=DAWN + HOUR)),
    ),
    "attempts-run-once": (judged(DONE), judged(Tale().start().run().succeed())),
    "extra-executions-explained": (
        judged(Tale().start().run(ended=60).lose().start().succeed()),
        judged(Tale().start().run(ended=60).err().move(Event.ENQUEUE).start().succeed()),
    ),
    "runs-within-its-attempt": (judged(DONE), judged(Tale().start().run(began=-1).lose().start().succeed())),
    "stops-when-cancelled": (cancelled_after(4), cancelled_after(6)),
    "stops-when-fenced": (lost_while_it_lived(14), lost_while_it_lived(17)),
    "success-was-run": (judged(DONE), judged(replace(DONE.life(), executions=[]))),
    "result-of-the-accepted": (judged(TRIED_TWICE), judged(TRIED_TWICE.life(result_attempt="1"))),
    "acknowledged-kept": (
        judged(DONE, ledger=[acknowledged(DONE.id)]),
        judged(ledger=[acknowledged(UNKNOWN_ID)]),
    ),
    "kept-as-asked": (asked(), asked(task="chaos.naps")),
    "calls-on-record": (
        judged(CANCELLED, ledger=[operated(Call.CANCEL, CANCELLED.id)]),
        judged(DONE, ledger=[operated(Call.CANCEL, DONE.id)]),
    ),
    "calls-only-as-asked": (
        judged(RETRIED, ledger=[operated(Call.RETRY, RETRIED.id, status=Status.UNKNOWN)], has_ledger=True),
        judged(RETRIED, ledger=[operated(Call.RETRY, RETRIED.id, status=Status.REFUSED)], has_ledger=True),
    ),
    "replays-once": (replayed("one", "one"), replayed("one", "one", times=2)),
    "answers-as-documented": (
        judged(DONE, ledger=[answered(503, "outcome-unknown", says_when=True), answered(404, "not-found")]),
        judged(DONE, ledger=[answered(500, "internal-error")]),
    ),
    "replays-have-a-source": (
        judged(DONE, Tale(replay_of=DONE.id)),
        judged(DONE, Tale(replay_of=UNKNOWN_ID)),
    ),
    "one-key-one-job": (
        judged(
            DONE, ledger=[acknowledged(DONE.id, key="k"), acknowledged(DONE.id, key="k")], keys=[key_row("k", DONE.id)]
        ),
        judged(DONE, DEAD, ledger=[acknowledged(DONE.id, key="k"), acknowledged(DEAD.id, key="k")]),
    ),
    "one-key-one-request": (
        judged(DONE, ledger=[acknowledged(DONE.id, key="k", fingerprint="a")], keys=[key_row("k", DONE.id)]),
        judged(
            DONE,
            ledger=[acknowledged(DONE.id, key="k", fingerprint=name) for name in "ab"],
            keys=[key_row("k", DONE.id)],
        ),
    ),
    "keys-on-record": (
        judged(DONE, ledger=[acknowledged(DONE.id, key="k")], keys=[key_row("k", DONE.id)]),
        judged(DONE, ledger=[acknowledged(DONE.id, key="k")]),
    ),
    "requests-whole": (
        judged(Tale(request_id="r"), ledger=[acknowledged(request_id="r", jobs=(Wanted(task="t"),))]),
        judged(Tale(request_id="r"), ledger=[acknowledged(request_id="r", jobs=(Wanted(task="t"),) * 2)]),
    ),
    "refused-left-nothing": (
        judged(Tale(request_id="r"), ledger=[refused(request_id="other")]),
        judged(Tale(request_id="r"), ledger=[refused(request_id="r")]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_history_that_breaks_an_invariant_is_caught(name: str) -> None:
    _, broken = CASES[name]

    assert name in broken.broken
    assert [violation.text for violation in broken.violations if violation.invariant == name]
    assert not broken.is_clean


@pytest.mark.parametrize("name", CASES)
def test_its_legal_neighbour_passes_and_was_looked_at(name: str) -> None:
    legal, _ = CASES[name]

    assert legal.violations == []
    assert legal.facts[name] > 0
    assert legal.is_clean


@pytest.mark.parametrize("means", Meaning)
def test_whatever_means_a_loss_or_a_doubling_is_counted_as_one(means: Meaning) -> None:
    meant = [one.name for one in (*OF_A_JOB, *OF_THE_RUN) if one.means is means]

    counted = {name: [getattr(report.counts, means) for report in CASES[name]] for name in meant}

    assert len(meant) >= 8
    assert {name: (legal, broken > 0) for name, (legal, broken) in counted.items()} == dict.fromkeys(meant, (0, True))


def test_a_job_that_was_doubled_in_many_ways_counts_once() -> None:
    report = judged(Tale().start().succeed().start().succeed())

    assert len(report.broken) > 2
    assert (report.counts.lost, report.counts.doubled) == (0, 1)


def test_every_invariant_has_a_case_and_says_what_it_is() -> None:
    invariants = [*OF_A_JOB, *OF_THE_RUN]

    assert [one.name for one in invariants] == list(dict.fromkeys(one.name for one in invariants))
    assert {one.name for one in invariants} == set(CASES)
    assert [one.name for one in invariants if not one.sentence.endswith(".")] == []
