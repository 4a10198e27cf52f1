"""Between what clients write of a schedule and what is stored: checked on the way in, shown on the way out."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timezone
from itertools import islice
from typing import Any, Final, NoReturn

import pydantic_core

from api import body
from api import schedule_schemas as schemas
from api.body import storable
from api.problems import InvalidRequest, MalformedBody
from api.schemas import TimeLimit
from api.submission import Intake, override
from jobs.calendar.passed_over import with_passed_over
from jobs.calendar.refusal import InvalidTiming
from jobs.calendar.timing import Instant
from jobs.errors import InvalidJob, InvalidPayload
from jobs.planning.decisions import due_at, next_run_at
from jobs.planning.model import Definition, Schedule, check
from jobs.planning.orders import with_instant
from jobs.storable import is_storable
from tasks.catalogue import TaskSpec

_SOME_INSTANT: Final = datetime(2030, 1, 1, tzinfo=UTC)
_TIMINGS: Final = ("cron", "every_seconds", "at")
_SAME: Final[tuple[str, ...]] = (
    "cron",
    "every_seconds",
    "anchor_at",
    "zone",
    "on_gap",
    "on_fold",
    "jitter_seconds",
    "start_at",
    "end_at",
    "task",
    "instant_as",
    "queue",
    "priority",
    "expires_after_seconds",
    "unique_key",
    "missed_after_seconds",
    "overlap",
)
"""What a request and a definition call by the same name, and keep in the same form."""


def definition_of(wanted: schemas.ScheduleRequest, checks: Intake) -> Definition:
    """Return the definition. Raises `InvalidTiming`, `UnknownTask`, `UnknownQueue`, `InvalidPayload`, `InvalidJob`."""
    _must_have_one_timing(wanted)
    spec, queue = checks.addressed(wanted.task, wanted.queue)
    payload = storable(wanted.payload)
    _check_payload(spec, payload, wanted.instant_as)
    limit = wanted.time_limit
    values = {name: getattr(wanted, name) for name in _SAME} | {
        "cron": None if wanted.cron is None else " ".join(wanted.cron.split()),
        "once": wanted.at,
        "payload": payload,
        "queue": queue,
        "priority": spec.priority if wanted.priority is None else wanted.priority,
        "tags": tuple(wanted.tags),
        "retry": override(wanted.retry),
        "time_limit_seconds": limit.hard_seconds if limit else None,
        "soft_time_limit_seconds": limit.soft_seconds if limit else None,
        "catch_up": wanted.catch_up.mode,
        "catch_up_window_seconds": wanted.catch_up.window_seconds,
        "catch_up_limit": wanted.catch_up.limit,
    }
    definition = Definition(**values)
    _must_be_storable(definition)
    check(definition)
    return definition


def _check_payload(spec: TaskSpec, payload: str, name: str | None) -> None:
    """Raise `InvalidPayload` where the payload does not fit the task, or the instant as its argument `name`."""
    if name is not None and name in json.loads(payload):
        where = {"field": "instant_as", "message": "is in the payload too; leave it out there, the instant comes here"}
        raise InvalidPayload(errors=[where])
    try:
        spec.check(with_instant(payload, name, _SOME_INSTANT))
    except InvalidPayload as error:
        raise InvalidPayload(errors=[_named_as_written(one, spec, name) for one in error.errors]) from None


def _named_as_written(error: Mapping[str, str], spec: TaskSpec, name: str | None) -> Mapping[str, str]:
    if name is None or error["field"] != f"payload.{name}":
        return error
    is_known = name in spec.payload_schema.get("properties", {})
    message = error["message"] if is_known else f"names no argument of {spec.name}"
    return {"field": "instant_as", "message": message}


def _must_have_one_timing(wanted: schemas.ScheduleRequest) -> None:
    given = [name for name in _TIMINGS if getattr(wanted, name) is not None]
    if len(given) != 1:
        field = given[1] if given else "cron"
        raise InvalidTiming(field, "give exactly one of cron, every_seconds and at")
    if wanted.anchor_at is not None and wanted.every_seconds is None:
        raise InvalidTiming("anchor_at", "goes with every_seconds alone")


def _must_be_storable(definition: Definition) -> None:
    for name in ("unique_key", "tags", "instant_as"):
        if not is_storable("".join(getattr(definition, name) or ())):
            where = [{"field": name, "message": "must not contain NUL or half of a surrogate pair"}]
            raise InvalidJob(f"A text of the schedule's {name} cannot be stored.", errors=where)


def request_of(definition: Definition) -> dict[str, Any]:
    """Return what a client would have to write for this definition, as JSON values; what is None is left out."""
    values = {name: getattr(definition, name) for name in _SAME} | {
        "at": definition.once,
        "payload": json.loads(definition.payload),
        "tags": list(definition.tags),
        "retry": json.loads(definition.retry) if definition.retry else None,
        "time_limit": _time_limit(definition),
        "catch_up": _catch_up(definition),
    }
    plain: dict[str, Any] = pydantic_core.from_json(pydantic_core.to_json(values))
    return {name: value for name, value in plain.items() if value is not None}


def _time_limit(definition: Definition) -> TimeLimit | None:
    soft, hard = definition.soft_time_limit_seconds, definition.time_limit_seconds
    return TimeLimit(soft_seconds=soft, hard_seconds=hard) if soft or hard else None


def _catch_up(definition: Definition) -> schemas.CatchUpRequest:
    return schemas.CatchUpRequest(
        mode=definition.catch_up,
        window_seconds=definition.catch_up_window_seconds,
        limit=definition.catch_up_limit,
    )


def read_patch(text: bytes) -> dict[str, Any]:
    """Return a merge patch (RFC 7396). Raises `MalformedBody`, and `InvalidRequest` for what is no JSON object."""
    body.check_depth(text)
    try:
        patch = json.loads(text, parse_constant=_refuse)
    except ValueError as error:  # also what UnicodeError is
        raise MalformedBody(str(error)) from None
    if not isinstance(patch, dict):
        raise InvalidRequest(errors=[{"field": "body", "message": "must be a JSON object"}])
    return patch


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is unknown to JSON")


def patched(definition: Definition, patch: Mapping[str, Any], checks: Intake) -> Definition:
    """Return the definition with the patch put into it, checked as a whole. Raises what `definition_of` raises."""
    had = request_of(definition)
    _must_replace_timing(had, patch)
    wanted = merge(had, patch)
    if wanted.get("every_seconds") is None and "anchor_at" not in patch:
        wanted.pop("anchor_at", None)
    return definition_of(body.parse(schemas.ScheduleRequest, json.dumps(wanted).encode()), checks)


def _must_replace_timing(had: Mapping[str, Any], patch: Mapping[str, Any]) -> None:
    """Raise `InvalidTiming` for a patch that puts one timing beside another, and say how to put it in its place."""
    for name in _TIMINGS:
        others = [one for one in _TIMINGS if one != name and had.get(one) is not None and one not in patch]
        if others and patch.get(name) is not None:
            raise InvalidTiming(name, f'would stand beside {others[0]}; send `"{others[0]}": null` as well')


def merge(target: Any, patch: Any) -> Any:
    """Return `target` with a merge patch put into it (RFC 7396, section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merge(found.get(name), value)
    return found


# What is shown


def summary(schedule: Schedule) -> schemas.ScheduleSummary:
    """Return the view of a schedule in a list."""
    return schemas.ScheduleSummary(**_summary(schedule))


def view(schedule: Schedule) -> schemas.Schedule:
    """Return the view of a schedule."""
    definition = schedule.definition
    return schemas.Schedule(
        **_summary(schedule),
        **{name: getattr(definition, name) for name in _SAME if name not in schemas.ScheduleSummary.model_fields},
        payload=json.loads(definition.payload),
        tags=list(definition.tags),
        retry=json.loads(definition.retry) if definition.retry else None,
        time_limit=_time_limit(definition),
        catch_up=_catch_up(definition),
        submitter=schedule.submitter,
        created_at=schedule.created_at,
        updated_at=schedule.updated_at,
        clock_rules=rules(schedule),
    )


def _summary(schedule: Schedule) -> dict[str, Any]:
    definition = schedule.definition
    here = f"/api/v1/schedules/{schedule.name}"
    links = {"self": here, "preview": f"{here}/preview", "occurrences": f"{here}/occurrences"}
    shown: dict[str, Any] = {
        name: getattr(definition, name) for name in _SAME if name in schemas.ScheduleSummary.model_fields
    }
    own = {name: getattr(schedule, name) for name in ("name", "source", "origin", "paused_at", "pause_reason")}
    own |= {"etag": schedule.tag}
    return {**shown, **own, "at": definition.once, "next_at": _next_at(schedule), "links": links}


def _next_at(schedule: Schedule) -> datetime | None:
    try:
        return next_run_at(schedule)
    except InvalidTiming:  # a zone that is no more: it can be looked at and edited all the same
        return schedule.next_at


def rules(schedule: Schedule) -> schemas.ClockRules:
    """Return the clock rules in force."""
    definition = schedule.definition
    return schemas.clock_rules(definition.zone, definition.on_gap, definition.on_fold)


def preview(schedule: Schedule, after: datetime, count: int) -> schemas.Preview:
    """Return the next `count` instants after `after`, those that are passed over among them."""
    rule = schedule.definition.rule
    return schemas.Preview(
        instants=[
            schemas.PreviewInstant(
                **shown(one), runs_at=None if one.is_passed_over else due_at(schedule.id, rule, one.at)
            )
            for one in islice(with_passed_over(rule, after), count)
        ],
        paused_at=schedule.paused_at,
        pause_reason=schedule.pause_reason,
        clock_rules=rules(schedule),
    )


def shown(instant: Instant) -> dict[str, Any]:
    """Return an instant as the world and the zone's clock show it."""
    offset = instant.wall - instant.at.replace(tzinfo=None)
    return {"at": instant.at, "local": instant.wall.replace(tzinfo=timezone(offset)), "mark": instant.mark}
