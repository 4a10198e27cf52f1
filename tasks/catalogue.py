"""Task name -> what its payload must look like, and its policy. Built from the signature alone."""

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NotRequired, Required

import pydantic_core
from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from jobs.errors import ConfigurationError, InvalidPayload, UnknownTask
from jobs.model import DEFAULT_PRIORITY, PRIORITIES
from jobs.retry import RetryPolicy

MOST_FINDINGS: Final = 100
_NAME: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+", re.IGNORECASE)


@dataclass(frozen=True)
class TaskSpec:
    """All that is known of a task without running it."""

    name: str
    description: str
    queue: str
    priority: int
    policy: RetryPolicy
    soft_time_limit_seconds: float | None
    time_limit_seconds: float | None
    payload: TypeAdapter[dict[str, Any]]
    result: TypeAdapter[Any] | None

    def check(self, payload: str | bytes) -> None:
        """Raise `InvalidPayload`, naming each field, when `payload` (JSON) does not fit the signature."""
        self.bind(payload)

    def bind(self, payload: str | bytes) -> dict[str, Any]:
        """Return the keyword arguments of a call, in the types of the signature. Raises `InvalidPayload`."""
        try:
            return self.payload.validate_json(payload)
        except ValidationError as error:
            raise InvalidPayload(errors=field_errors(error, "payload")) from None

    def dump(self, value: Any) -> str:
        """Return the task's result as JSON. Raises `ValueError` when it has no JSON form."""
        adapter = self.result
        try:
            encoded = pydantic_core.to_json(value, inf_nan_mode="null") if adapter is None else adapter.dump_json(value)
        except (pydantic_core.PydanticSerializationError, UnicodeEncodeError, RecursionError) as error:
            raise ValueError(f"{self.name} returned {type(value).__name__}, which has no JSON form: {error}") from None
        return encoded.decode()

    @cached_property
    def payload_schema(self) -> dict[str, Any]:
        """The JSON Schema of the payload."""
        return self.payload.json_schema()

    @cached_property
    def result_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the result, where the task states its type."""
        return self.result.json_schema(mode="serialization") if self.result else None


def field_errors(error: ValidationError, *prefix: str) -> list[dict[str, str]]:
    """Return pydantic's findings as {field, message}; never the offending value, which may be a secret.

    Where there are more than `MOST_FINDINGS` they are only counted: a bad request must not cost more than it did.
    """
    if error.error_count() > MOST_FINDINGS:
        return [{"field": ".".join(prefix) or "body", "message": f"is wrong in {error.error_count()} places"}]
    return [
        {"field": ".".join([*prefix, *map(str, found["loc"])]) or "body", "message": sentence(found["msg"])}
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def sentence(message: str) -> str:
    """Return pydantic's message without the class of the error, which it puts before what a validator of ours says."""
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


class Catalogue:
    """The installed tasks by name."""

    def __init__(self, specs: Iterable[TaskSpec]) -> None:
        """Keep `specs`."""
        self._specs = {spec.name: spec for spec in specs}

    def __getitem__(self, name: str) -> TaskSpec:
        """Return the task. Raises `UnknownTask`."""
        try:
            return self._specs[name]
        except KeyError:
            raise UnknownTask(
                f"No task is named {name[:200]!r}. GET /api/v1/tasks lists the installed ones.",
                errors=[{"field": "task", "message": "is not installed"}],
            ) from None

    def __contains__(self, name: object) -> bool:
        """Tell whether a task of that name is installed."""
        return name in self._specs

    def __iter__(self) -> typing.Iterator[TaskSpec]:
        """Go through the tasks in the order of their names."""
        return iter(sorted(self._specs.values(), key=lambda spec: spec.name))

    def __len__(self) -> int:
        """Return how many tasks are installed."""
        return len(self._specs)

    @cached_property
    def queues(self) -> frozenset[str]:
        """The queues that tasks name."""
        return frozenset(spec.queue for spec in self)


def describe(task: Any, *, default_queue: str) -> TaskSpec:
    """Return the spec of a Celery task. Raises `ConfigurationError` when its signature cannot be a payload."""
    if not _NAME.fullmatch(task.name):
        raise ConfigurationError(f"Task {task.name!r}: give it an explicit name with a dot, like billing.charge.")
    function = inspect.unwrap(task.run)
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"Task {task.name}: Celery runs no async functions; use asyncio.run inside.")
    hints = _hints(task.name, function)
    priority = task.priority if task.priority is not None else DEFAULT_PRIORITY
    if priority not in PRIORITIES:
        raise ConfigurationError(f"Task {task.name}: priority {priority} is not between 0 and 9.")
    return TaskSpec(
        name=task.name,
        description=_first_line(function),
        queue=getattr(task, "queue", None) or default_queue,
        priority=priority,
        policy=_policy(task),
        soft_time_limit_seconds=task.soft_time_limit,
        time_limit_seconds=task.time_limit,
        payload=_payload_type(task, hints),
        result=_result_type(task.name, hints),
    )


def _first_line(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _hints(name: str, function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(f"Task {name}: its annotations name something unknown: {error}") from None


def _payload_type(task: Any, hints: Mapping[str, Any]) -> TypeAdapter[dict[str, Any]]:
    """Return a closed dictionary type with a key for each parameter.

    A dictionary, not a model: a parameter may then have any name, and a default is left to the function.
    """
    fields: dict[str, Any] = {}
    extra: typing.Literal["allow", "forbid"] = "forbid"
    for parameter in inspect.signature(task.run).parameters.values():
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL}:
            raise ConfigurationError(f"Task {task.name}: a payload has names, so {parameter} cannot be filled.")
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
            continue
        hint = hints.get(parameter.name, Any)
        fields[parameter.name] = Required[hint] if parameter.default is parameter.empty else NotRequired[hint]
    shape = TypedDict("Payload", fields)  # type: ignore[misc]  # its fields are known only at run time
    try:
        typed: Any = with_config(ConfigDict(extra=extra))(shape)
        return TypeAdapter(typed)
    except PydanticSchemaGenerationError as error:
        raise ConfigurationError(f"Task {task.name}: {error.message.splitlines()[0]}") from None


def _result_type(name: str, hints: Mapping[str, Any]) -> TypeAdapter[Any] | None:
    hint = hints.get("return", Any)
    if hint in {Any, typing.NoReturn, typing.Never}:
        return None
    try:
        return TypeAdapter(hint)
    except PydanticSchemaGenerationError as error:
        raise ConfigurationError(f"Task {name}: its result: {error.message.splitlines()[0]}") from None


def _policy(task: Any) -> RetryPolicy:
    """Read Celery's own options: a backoff of True counts from one second; none at all means a fixed delay.

    `retry_kwargs`, which Celery knows for tasks with `autoretry_for`, has the last word.
    """
    # A task of another Celery app has no such attributes until somebody sets them: celery.app.autoretry's defaults.
    backoff, wishes = getattr(task, "retry_backoff", False), getattr(task, "retry_kwargs", {})
    delay = wishes.get("countdown", None if backoff else task.default_retry_delay)
    return RetryPolicy(
        max_retries=wishes.get("max_retries", task.max_retries),
        backoff_seconds=float(backoff or 1),
        backoff_max_seconds=float(getattr(task, "retry_backoff_max", 600)),
        jitter=bool(getattr(task, "retry_jitter", True)),
        fixed_delay_seconds=None if delay is None else float(delay),
    )
