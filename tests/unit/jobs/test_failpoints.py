"""A fail-point does what it is armed with, when it is, and nothing else ever."""

import threading
import time
from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from jobs import failpoints
from jobs.database import is_outage
from jobs.errors import BrokerUnavailable, DatabaseUnavailable, OutcomeUnknown
from jobs.failpoints import FailPointSettings, Unforeseen, passed, reached
from jobs.misconfiguration import told

SESSION, STORE, PIPE, BROKER = "settle.write", "intake.answer", "start.receive", "dispatch.ring"


@pytest.fixture(autouse=True)
def disarmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PENSTOCK_FAIL_POINTS", raising=False)
    yield
    failpoints.arm(FailPointSettings(fail_points=()))


def arm(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PENSTOCK_FAIL_POINTS", value)
    failpoints.arm(FailPointSettings())


def test_what_is_not_armed_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, "")
    reached(SESSION)
    passed(SESSION)

    arm(monkeypatch, f"{STORE}=bug")
    reached(SESSION)
    passed(SESSION)


def test_a_point_acts_at_its_passage_and_at_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, f"{SESSION}=bug@2, {SESSION}=outage@4")

    reached(SESSION)
    with pytest.raises(Unforeseen, match=SESSION):
        reached(SESSION)
    reached(SESSION)
    with pytest.raises(OperationalError):
        reached(SESSION)
    reached(SESSION)


@pytest.mark.parametrize(
    ("point", "before", "after"),
    [
        (SESSION, OperationalError, OperationalError),
        (STORE, DatabaseUnavailable, OutcomeUnknown),
        (PIPE, ConnectionResetError, ConnectionResetError),
        (BROKER, BrokerUnavailable, BrokerUnavailable),
    ],
)
def test_an_outage_looks_as_it_does_there_before_the_step_and_after_it(
    monkeypatch: pytest.MonkeyPatch, point: str, before: type[Exception], after: type[Exception]
) -> None:
    arm(monkeypatch, f"{point}=outage@1,{point}=cut@2")

    with pytest.raises(before) as early:
        reached(point)
    reached(point)
    with pytest.raises(after) as late:
        passed(point)

    assert type(early.value) is before
    assert type(late.value) is after


def test_the_outage_of_a_session_is_one_to_the_code_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, f"{SESSION}=outage")

    with pytest.raises(OperationalError) as error:
        reached(SESSION)

    assert is_outage(error.value)


def test_an_answer_is_cut_off_only_where_its_step_was_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, f"{STORE}=cut@1")
    reached(STORE)

    other = threading.Thread(target=passed, args=(STORE,))
    other.start()
    other.join()
    with pytest.raises(OutcomeUnknown):
        passed(STORE)

    passed(STORE)


def test_a_step_that_failed_by_itself_leaves_no_cut_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, f"{STORE}=cut@1")

    reached(STORE)
    reached(STORE)

    passed(STORE)


def test_a_delay_lasts_as_long_as_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, f"{STORE}=delay:0.05")

    began = time.monotonic()
    reached(STORE)

    assert time.monotonic() - began >= 0.05


def test_a_point_that_the_table_lacks_is_found_out_when_another_is_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, f"{STORE}=bug")

    with pytest.raises(KeyError, match="nowhere"):
        reached("nowhere")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("intake.commit", "is not of the form point=action[@nth][:seconds]"),
        ("intake.commit=kill@0", "is not of the form"),
        ("intake.commit=kill@1 settle.write=kill", "is not of the form"),
        ("intake.comit=kill", "there is no fail-point 'intake.comit'; docs/reference/fail-points.md lists them"),
        ("intake.commit=explode", "there is no action 'explode'; there are kill, outage, bug, delay, cut"),
        ("dispatch.count=cut", "dispatch.count knows no cut: the step tells nobody whether it happened"),
        ("intake.commit=kill:2", "has seconds, which only a delay takes"),
        ("intake.commit=kill,intake.commit=bug@1", "intake.commit is armed twice for passage 1"),
    ],
)
def test_what_cannot_be_armed_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch, value: str, why: str) -> None:
    monkeypatch.setenv("PENSTOCK_FAIL_POINTS", value)

    with pytest.raises(ValidationError) as refusal:
        FailPointSettings()

    assert told(refusal.value).startswith("PENSTOCK_FAIL_POINTS: ")
    assert why in told(refusal.value)
