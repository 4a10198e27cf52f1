"""What a worker counts of its attempts, and under which labels."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.model import Verdict
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import Instruments, MetricsSettings, instruments_of
from tasks.app import celery_app, load_catalogue
from tasks.settings import TaskSettings
from tests.factories import attempt, failure, retry, success
from worker.counting import Counting
from worker.running import Running

NOW = datetime.now(UTC)
LATER = timedelta(seconds=40)


@pytest.fixture
def instruments() -> Instruments:
    return instruments_of(Process.WORKER)


@pytest.fixture
def counting(instruments: Instruments) -> Counting:
    return Counting(instruments, load_catalogue(celery_app, TaskSettings()))


def value(instruments: Instruments, name: str, **labels: str) -> float | None:
    labels = {"task": "demo.noop", "queue": "default"} | labels
    return instruments.registry.get_sample_value(f"penstock_{name}", labels)


def test_a_delayed_job_waits_from_when_it_was_due(counting: Counting, instruments: Instruments) -> None:
    counting.started([attempt(created_at=NOW - 2 * LATER, run_at=NOW - LATER, started_at=NOW)], idle=2)

    assert value(instruments, "attempts_started_total") == 1
    assert value(instruments, "queue_wait_seconds_sum") == 40
    assert instruments.registry.get_sample_value("penstock_doorbells_idle_total") == 2


def test_the_wait_of_a_later_attempt_is_its_policys_and_not_the_queues(
    counting: Counting, instruments: Instruments
) -> None:
    counting.started([attempt(number=2, created_at=NOW - LATER, started_at=NOW)], idle=0)

    assert value(instruments, "attempts_started_total") == 1
    assert value(instruments, "queue_wait_seconds_count") is None


@pytest.mark.parametrize(
    ("verdict", "outcome", "state"),
    [(success(), "succeeded", "succeeded"), (failure(), "errored", "failed"), (retry(), "errored", None)],
)
def test_an_end_is_counted_by_its_outcome_and_a_final_one_with_the_whole_time(
    counting: Counting, instruments: Instruments, verdict: Verdict, outcome: str, state: str | None
) -> None:
    counting.ended(Running(attempt(number=2, created_at=NOW - LATER, run_at=NOW, started_at=NOW)), verdict)

    assert value(instruments, "attempts_finished_total", outcome=outcome) == 1
    assert value(instruments, "run_seconds_count") == 1
    found = {state: value(instruments, "end_to_end_seconds_sum", state=state) for state in ("succeeded", "failed")}
    assert {state for state, seconds in found.items() if seconds and seconds >= 40} == ({state} if state else set())


def test_a_refused_end_is_counted_as_fenced_alone(counting: Counting, instruments: Instruments) -> None:
    counting.ended(Running(attempt()), None)

    assert value(instruments, "attempts_fenced_total") == 1
    assert value(instruments, "run_seconds_count") is None


def test_names_from_elsewhere_make_no_series_without_end(counting: Counting, instruments: Instruments) -> None:
    counting.started([attempt(task=f"stranger.{n}", queue=f"q{n}") for n in range(500)], idle=0)

    labels = [
        sample.labels
        for family in instruments.registry.collect()
        for sample in family.samples
        if sample.name == "penstock_attempts_started_total"
    ]
    assert {one["task"] for one in labels} == {"other"}
    assert len(labels) == 101


def test_a_process_that_counts_nothing_works_all_the_same() -> None:
    instruments = instruments_of(Process.WORKER, MetricsSettings(metrics=False))
    catalogue: Any = load_catalogue(celery_app, TaskSettings())
    counting = Counting(instruments, catalogue)

    counting.started([attempt()], idle=1)
    counting.ended(Running(attempt()), success())
    instruments["slots"].set(3)
    instruments["slots_busy"].set_function(lambda: 1)

    assert list(instruments.registry.collect()) == []
