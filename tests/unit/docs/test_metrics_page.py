"""The page of metrics is what the contract says, and the contract keeps its own rules."""

import re

import pytest

from jobs.telemetry.contract import CONTRACT, PREFIX, Metric, Process, Source, told_by
from jobs.telemetry.metrics import instruments_of
from tests.unit.docs.metrics_page import PAGE, page

UNBOUNDED = {"tenant", "job", "job_id", "id", "path", "url", "key", "worker", "request_id"}


def test_the_page_is_the_one_that_the_code_makes() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m tests.unit.docs.metrics_page"


def test_every_metric_has_its_line() -> None:
    for metric in CONTRACT:
        assert page().count(f"| `{PREFIX}{metric.name}` | ") == 1


@pytest.mark.parametrize("metric", CONTRACT, ids=lambda metric: metric.name)
def test_a_metric_is_named_measured_and_labelled_by_the_rules(metric: Metric) -> None:
    assert re.fullmatch("[a-z]+(_[a-z]+)*", metric.name)
    assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert metric.name.endswith("_seconds") == (metric.unit == "seconds")
    assert metric.meaning
    assert metric.unit
    assert metric.told_by
    assert not UNBOUNDED & set(metric.labels)


@pytest.mark.parametrize("metric", [one for one in CONTRACT if one.kind == "histogram"], ids=lambda one: one.name)
def test_a_histogram_of_seconds_has_the_boundary_of_the_promise(metric: Metric) -> None:
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.unit != "seconds" or 0.1 in metric.buckets


@pytest.mark.parametrize("process", Process)
def test_a_process_has_an_instrument_for_each_metric_that_it_counts(process: Process) -> None:
    made = instruments_of(process)

    assert set(made) == {metric.name for metric in told_by(process, Source.PROCESS)}
    assert {family.name for family in made.registry.collect()} == {PREFIX + name for name in made}
