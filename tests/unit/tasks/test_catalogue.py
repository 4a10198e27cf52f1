"""Which functions can be tasks, and what a payload must look like."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from celery import Celery

from jobs.errors import ConfigurationError, InvalidPayload, UnknownTask
from tasks.app import build, load_catalogue
from tasks.catalogue import Catalogue, TaskSpec, describe
from tasks.settings import TaskSettings


@pytest.fixture
def app() -> Celery:
    return build(TaskSettings())


Described = Callable[..., TaskSpec]


@pytest.fixture
def described(app: Celery) -> Described:
    def make(function: Callable[..., Any], name: str = "test.task", **options: Any) -> TaskSpec:
        make_task: Any = app.task(name=name, shared=False, **options)
        return describe(make_task(function), default_queue="default")

    return make


def test_the_signature_is_the_payload(described: Described) -> None:
    def charge(invoice: UUID, amount: Decimal, currency: str = "EUR") -> str:
        """Charge an invoice.

        More.
        """
        return f"{invoice}{amount}{currency}"

    spec = described(charge, "billing.charge", queue="critical", priority=7, soft_time_limit=20, time_limit=30)

    assert (spec.name, spec.description, spec.queue, spec.priority) == (
        "billing.charge",
        "Charge an invoice.",
        "critical",
        7,
    )
    assert (spec.soft_time_limit_seconds, spec.time_limit_seconds) == (20, 30)
    assert spec.payload_schema["required"] == ["invoice", "amount"]
    assert spec.result_schema == {"type": "string"}
    bound = spec.bind(b'{"invoice": "0192e4a0-0000-7000-8000-000000000000", "amount": "1.5"}')
    assert bound == {"invoice": UUID("0192e4a0-0000-7000-8000-000000000000"), "amount": Decimal("1.5")}


def test_a_task_that_names_nothing_gets_the_defaults(described: Described) -> None:
    def plain() -> None: ...

    spec = described(plain)

    assert (spec.queue, spec.priority, spec.policy.max_retries, spec.policy.backoff_seconds) == ("default", 5, 3, 2.0)
    assert spec.policy.fixed_delay_seconds is None


def test_a_task_without_backoff_waits_its_own_delay(described: Described) -> None:
    def plain() -> None: ...

    assert described(plain, retry_backoff=False, default_retry_delay=7).policy.fixed_delay_seconds == 7


@pytest.mark.parametrize("backoff", [True, 1])
def test_a_backoff_of_true_counts_from_a_second(backoff: Any, described: Described) -> None:
    def plain() -> None: ...

    assert described(plain, retry_backoff=backoff).policy.backoff_seconds == 1


def test_the_bound_task_itself_is_no_part_of_the_payload(described: Described) -> None:
    def bound(self: Any, size: int) -> None: ...

    assert list(described(bound, bind=True).payload_schema["properties"]) == ["size"]


@pytest.mark.parametrize("payload", [b"{}", b'{"size": "x"}', b'{"size": 1, "more": 2}', b"[]", b"{", b"null", b""])
def test_a_payload_that_does_not_fit_is_refused(payload: bytes, described: Described) -> None:
    def sized(size: int) -> None: ...

    with pytest.raises(InvalidPayload) as refused:
        described(sized).check(payload)

    assert all(found["field"].startswith("payload") for found in refused.value.errors)


def test_a_refusal_does_not_repeat_the_value(described: Described) -> None:
    def sized(size: int) -> None: ...

    with pytest.raises(InvalidPayload) as refused:
        described(sized).check(b'{"size": "hunter2"}')

    assert "hunter2" not in f"{refused.value}{refused.value.errors}"


def test_a_task_may_take_whatever_it_is_given(described: Described) -> None:
    def anything(size: int, **more: Any) -> None: ...

    assert described(anything).bind(b'{"size": 1, "colour": "red"}') == {"size": 1, "colour": "red"}


def test_an_argument_without_a_type_may_be_anything(described: Described) -> None:
    def loose(value): ...  # type: ignore[no-untyped-def]  # the point of the test

    assert described(loose).bind(b'{"value": [1, "x"]}') == {"value": [1, "x"]}


async def _sleeps() -> None: ...


def _positional(size: int, /) -> None: ...


def _many(*sizes: int) -> None: ...


def _unknown(size: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the point of the test


class _NoSchema: ...


def _shapeless(size: _NoSchema) -> None: ...


def _shapeless_result() -> _NoSchema:
    return _NoSchema()


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_sleeps, "no async functions"),
        (_positional, "has names"),
        (_many, "has names"),
        (_unknown, "Nowhere"),
        (_shapeless, "test.task"),
        (_shapeless_result, "its result"),
    ],
)
def test_a_function_that_cannot_be_a_task_keeps_the_process_from_starting(
    function: Callable[..., Any], says: str, described: Described
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        described(function)


@pytest.mark.parametrize("name", ["charge", "billing.", ".charge", "billing charge.it", "a/b.c"])
def test_a_name_has_parts(name: str, described: Described) -> None:
    def plain() -> None: ...

    with pytest.raises(ConfigurationError, match="explicit name"):
        described(plain, name)


@pytest.mark.parametrize("priority", [-1, 10])
def test_a_priority_is_between_0_and_9(priority: int, described: Described) -> None:
    def plain() -> None: ...

    with pytest.raises(ConfigurationError, match="between 0 and 9"):
        described(plain, priority=priority)


def test_the_catalogue_is_in_order_and_says_what_it_lacks(described: Described) -> None:
    def plain() -> None: ...

    catalogue = Catalogue([described(plain, "b.b"), described(plain, "a.a", queue="bulk")])

    assert [spec.name for spec in catalogue] == ["a.a", "b.b"]
    assert (len(catalogue), catalogue.queues) == (2, frozenset({"default", "bulk"}))
    with pytest.raises(UnknownTask, match=r"no\.such"):
        catalogue["no.such"]


@dataclass
class _Opaque:
    inner: object


@pytest.mark.parametrize("value", [object(), _Opaque(object()), "\ud800"])
def test_a_result_without_a_json_form_is_told(value: Any, described: Described) -> None:
    def plain(): ...  # type: ignore[no-untyped-def]  # states no result

    with pytest.raises(ValueError, match="no JSON form"):
        described(plain).dump(value)


def test_a_result_that_holds_itself_is_told(described: Described) -> None:
    def plain(): ...  # type: ignore[no-untyped-def]  # states no result

    ring: list[Any] = []
    ring.append(ring)

    with pytest.raises(ValueError, match="no JSON form"):
        described(plain).dump(ring)


# Task modules


@pytest.fixture
def module() -> Iterator[Callable[[str, str], str]]:
    """Make importable modules; gone after the test."""
    made: list[str] = []

    def make(name: str, source: str) -> str:
        found = ModuleType(name)
        sys.modules[name] = found
        made.append(name)
        exec(source, found.__dict__)
        return name

    yield make
    for name in made:
        del sys.modules[name]


ONE = "from celery import current_app\n@current_app.task(name='twice.named', shared=False)\ndef {}() -> None: ...\n"


def test_two_functions_of_one_name_keep_the_process_from_starting(
    app: Celery, module: Callable[[str, str], str]
) -> None:
    app.finalize()
    module("first_tasks", ONE.format("first"))

    with pytest.raises(ConfigurationError, match=r"twice\.named.*first.*second"):
        module("second_tasks", ONE.format("second"))


def test_a_queue_that_does_not_exist_keeps_the_process_from_starting(app: Celery) -> None:
    @app.task(name="lost.task", queue="nowhere", shared=False)
    def lost() -> None: ...

    with pytest.raises(ConfigurationError, match="nowhere"):
        load_catalogue(app, TaskSettings(task_modules=(__name__,)))


@pytest.mark.parametrize("missing", ["no.such.module", "tests.unit.tasks.broken_module"])
def test_a_task_module_that_cannot_be_imported_keeps_the_process_from_starting(missing: str, app: Celery) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        load_catalogue(app, TaskSettings(task_modules=(missing,)))


def test_the_library_is_in_every_catalogue(app: Celery) -> None:
    catalogue = load_catalogue(app, TaskSettings())

    assert catalogue["demo.echo"].queue == "default"
