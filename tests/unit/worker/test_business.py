"""What tasks measure stays within bounds, and what makes no metric is refused where it is said."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from jobs.telemetry.contract import BUSINESS, CONTRACT, PREFIX
from tasks.measures import MOST_MEASURES, Kind, Measure, Measures
from tests.factories import attempt
from worker.business import MOST_NAMES, MOST_SERIES, Business
from worker.own_job import OwnJob


def value(business: Business, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(business)
    return registry.get_sample_value(BUSINESS + name, labels)


def test_a_counter_adds_up_a_gauge_keeps_the_last_and_a_histogram_sorts() -> None:
    job, business = OwnJob(attempt(), _no_database), Business()
    job.count("orders", store="a")
    job.count("orders", 2, store="a")
    job.gauge("stock", 5)
    job.gauge("stock", 4)
    job.observe("size", 3)
    job.observe("size", 700)

    for _ in range(2):
        assert business.take("shop.pay", job.measures.taken()) == 0

    assert value(business, "orders_total", task="shop.pay", store="a") == 6
    assert value(business, "stock", task="shop.pay") == 4
    assert value(business, "size_sum", task="shop.pay") == 1406
    assert value(business, "size_bucket", task="shop.pay", le="5.0") == 2


def _no_database() -> Any:
    raise AssertionError("measuring asks no database")


@pytest.mark.parametrize(
    ("name", "number", "labels"),
    [
        ("Orders", 1, {}),
        ("orders-paid", 1, {}),
        ("orders__paid", 1, {}),
        ("o" * 61, 1, {}),
        ("orders_total", 1, {}),
        ("orders_count", 1, {}),
        ("orders", -1, {}),
        ("orders", float("nan"), {}),
        ("orders", 1, {"task": "x"}),
        ("orders", 1, {"le": "x"}),
        ("orders", 1, {"Store": "x"}),
        ("orders", 1, {f"label_{letter}": "x" for letter in "abcde"}),
    ],
)
def test_what_makes_no_metric_is_refused(name: str, number: float, labels: dict[str, str]) -> None:
    job = OwnJob(attempt(), _no_database)

    with pytest.raises(ValueError, match=r"name|number|labels|grows|ending"):
        job.count(name, number, **labels)

    assert job.measures.taken() == ()


def test_an_attempt_keeps_so_many_measures_and_counts_the_rest() -> None:
    measures = Measures()
    for number in range(MOST_MEASURES + 50):
        measures.observe("size", number, {})
    measures.count("orders", 1, {})

    assert (len(measures.taken()), measures.dropped) == (MOST_MEASURES, 51)


def counter(name: str, **labels: str) -> Measure:
    return Measure(Kind.COUNTER, name, tuple(sorted(labels.items())), 1)


def test_labels_without_end_become_one_series() -> None:
    business = Business()

    dropped = business.take("shop.pay", [counter("orders", customer=str(n)) for n in range(MOST_SERIES + 400)])

    assert dropped == 0
    assert value(business, "orders_total", task="shop.pay", customer="other") == 400
    (family,) = business.collect()
    assert len([one for one in family.samples if one.name.endswith("_total")]) == 1 + MOST_SERIES


def test_names_without_end_are_dropped() -> None:
    business = Business()

    assert business.take("shop.pay", [counter(f"orders_{n}") for n in range(MOST_NAMES + 7)]) == 7


def test_a_name_keeps_its_kind_and_its_labels() -> None:
    business = Business()
    business.take("shop.pay", [counter("orders", store="a")])

    others = [counter("orders"), counter("orders", shop="a"), Measure(Kind.GAUGE, "orders", (("store", "a"),), 3)]

    assert business.take("shop.refund", others) == 3
    assert business.take("shop.refund", [counter("orders", store="a")]) == 0


def test_no_metric_of_the_contract_is_one_that_a_task_could_make() -> None:
    assert not [metric.name for metric in CONTRACT if (PREFIX + metric.name).startswith(BUSINESS)]
