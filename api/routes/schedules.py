"""Schedules: writing them, looking at them, and asking them for more than their timing says."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Path, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from api import body, planning
from api import schedule_schemas as schemas
from api.openapi import LOCATION, SCHEDULE_ETAG
from api.problems import InvalidRequest
from api.routes import answer, problems, read_from, write_to
from api.routes.jobs import Asked
from api.schemas import Instant
from api.security import Caller
from api.submission import Intake, idempotency
from jobs import search as job_search
from jobs.keys import Principal
from jobs.planning import by_hand, editing, search, store
from jobs.planning.by_hand import Asker
from jobs.planning.decisions import runs_after
from jobs.planning.editing import Editor, Expected, Make
from jobs.planning.model import NAME, Schedule
from jobs.planning.search import Filter, Span
from jobs.planning.words import Decision, Source
from jobs.search import Row
from jobs.telemetry import logs

log = structlog.get_logger()

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"])

Name = Annotated[str, Path(pattern=f"^{NAME}$", max_length=100, description="The schedule's name")]
IfMatch = Annotated[str | None, Header(description="Only if it still has one of these ETags; * is any")]
MOST_SHOWN = 200
MOST_LINES = 100
MERGE_PATCH = ("application/json", "application/merge-patch+json")
JSON_ONLY = MERGE_PATCH[:1]


def _expected(if_match: str | None, if_none_match: str | None = None) -> Expected:
    """Return what the client knows of the schedule. Raises `InvalidRequest`."""
    if if_none_match is not None and if_none_match.strip() != "*":
        raise InvalidRequest(errors=[{"field": "If-None-Match", "message": "can only be *: write where there is none"}])
    tags = None if if_match is None else frozenset(one.strip().strip('"') for one in if_match.split(","))
    return Expected(tags, absent=if_none_match is not None)


def _editor(caller: Principal) -> Editor:
    return Editor(tenant=caller.tenant, submitter=caller.key_id)


def _asker(request: Request, caller: Principal) -> Asker:
    return Asker(
        tenant=caller.tenant,
        submitter=caller.key_id,
        request_id=request.scope["request_id"],
        traceparent=request.scope["traceparent"],
    )


def _shown(schedule: Schedule, status: int = 200, **headers: str) -> Response:
    return answer(planning.view(schedule), status, {"ETag": f'"{schedule.tag}"'} | headers)


@router.put(
    "/{name}",
    response_model=schemas.Schedule,
    responses=problems(400, 409, 412, 413, 415, 422)
    | {200: SCHEDULE_ETAG, 201: {"model": schemas.Schedule, "description": "It is new", **LOCATION}},
    summary="Write a schedule",
    openapi_extra={"x-body": "ScheduleRequest"},
)
async def put_schedule(
    request: Request,
    caller: Caller,
    name: Name,
    if_match: IfMatch = None,
    if_none_match: Annotated[str | None, Header(description="*: only where there is none of this name")] = None,
) -> Response:
    """Make the schedule, or make it what the body says. The same again changes nothing; a pause stays as it is."""
    expected = _expected(if_match, if_none_match)
    text = await body.read(request, request.app.state.settings.body_limit_bytes)
    wanted = body.parse(schemas.ScheduleRequest, text)
    checks: Intake = request.app.state.intake
    make: Make = lambda _found, _now: planning.definition_of(wanted, checks)  # noqa: E731 - names its type
    change = partial(editing.put, name=name, make=make, editor=_editor(caller), expected=expected)
    schedule, is_new = await write_to(request, change)
    log.info("schedule_written", schedule=name, is_new=is_new)
    if is_new:
        return _shown(schedule, 201, Location=f"/api/v1/schedules/{name}")
    return _shown(schedule)


@router.patch(
    "/{name}",
    response_model=schemas.Schedule,
    responses=problems(400, 404, 409, 412, 413, 415, 422) | {200: SCHEDULE_ETAG},
    summary="Change a part of a schedule",
    openapi_extra={"x-body": "SchedulePatch", "x-body-kinds": MERGE_PATCH},
)
async def patch_schedule(request: Request, caller: Caller, name: Name, if_match: IfMatch = None) -> Response:
    """Put a JSON merge patch (RFC 7396) into the schedule: what is null goes back to its default."""
    expected = _expected(if_match)
    text = await body.read(request, request.app.state.settings.body_limit_bytes, kinds=MERGE_PATCH)
    patch = planning.read_patch(text)
    checks: Intake = request.app.state.intake

    def change(connection: Connection) -> Schedule:
        make: Make = lambda found, _now: planning.patched(_there(found).definition, patch, checks)  # noqa: E731 - names its type
        editor = _editor(caller)
        return editing.put(connection, name, make, editor, expected=expected, may_create=False)[0]

    schedule = await write_to(request, change)
    log.info("schedule_written", schedule=name, is_new=False)
    return _shown(schedule)


def _there(found: Schedule | None) -> Schedule:
    assert found is not None  # noqa: S101 - nothing is created by a patch
    return found


@router.get(
    "/{name}", response_model=schemas.Schedule,
    responses=problems(404, 422) | {200: SCHEDULE_ETAG, 304: {"description": "Unchanged", **SCHEDULE_ETAG}},
    summary="Look at a schedule",
)  # fmt: skip
async def get_schedule(
    request: Request,
    caller: Caller,
    name: Name,
    if_none_match: Annotated[str | None, Header(description="Only if it has none of these ETags any more")] = None,
) -> Response:
    """Return all that is known of the schedule, with the clock rules in force. The ETag changes with each edit.

    What time brings, `next_at`, does not change it: 304 says that nobody has edited it.
    """
    found = await _found(request, caller, name)
    known = {one.strip().removeprefix("W/").strip('"') for one in (if_none_match or "").split(",")}
    if known & {found.tag, "*"}:
        return Response(status_code=304, headers={"ETag": f'"{found.tag}"'})
    return _shown(found)


async def _found(request: Request, caller: Principal, name: str) -> Schedule:
    return await read_from(request, partial(store.find, name=name, tenant=caller.tenant))


@router.get("", response_model=schemas.SchedulePage, responses=problems(400, 422), summary="List schedules")
async def list_schedules(
    request: Request,
    caller: Caller,
    *,
    task: Asked = None,
    source: Source | None = None,
    paused: bool | None = None,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
    limit: Annotated[int, Query(ge=1, le=job_search.MAX_PAGE)] = 50,
) -> Response:
    """Return the schedules that match all that is given, by name, a page at a time."""
    wanted = Filter(task=task, source=source, paused=paused)
    query = partial(search.list_schedules, wanted=wanted, tenant=caller.tenant, limit=limit, cursor=cursor)
    found, next_cursor = await read_from(request, query)
    return answer(schemas.SchedulePage(schedules=[planning.summary(one) for one in found], next_cursor=next_cursor))


@router.delete("/{name}", status_code=204, responses=problems(404, 409, 412, 422), summary="Delete a schedule")
async def delete_schedule(request: Request, caller: Caller, name: Name, if_match: IfMatch = None) -> Response:
    """Once this is answered no instant of it gets a job. Jobs that were made before go on; its occurrences can be read.

    What code has declared, and does not declare any more, can be deleted too.
    """
    expected = _expected(if_match)
    await write_to(request, partial(editing.remove, name=name, editor=_editor(caller), expected=expected))
    log.info("schedule_deleted", schedule=name)
    return Response(status_code=204)


@router.post(
    "/{name}/pause", response_model=schemas.Schedule,
    responses=problems(404, 409, 412, 422) | {200: SCHEDULE_ETAG}, summary="Pause a schedule",
)  # fmt: skip
async def pause_schedule(request: Request, caller: Caller, name: Name, if_match: IfMatch = None) -> Response:
    """Fire no instant from now on, until it is resumed."""
    change = partial(editing.pause, name=name, editor=_editor(caller), expected=_expected(if_match))
    paused = await write_to(request, change)
    log.info("schedule_paused", schedule=name)
    return _shown(paused)


@router.post(
    "/{name}/resume", response_model=schemas.Schedule,
    responses=problems(404, 409, 412, 422) | {200: SCHEDULE_ETAG}, summary="Have a schedule go on",
)  # fmt: skip
async def resume_schedule(request: Request, caller: Caller, name: Name, if_match: IfMatch = None) -> Response:
    """Fire what comes from now on; the instants of the pause are recorded as skipped."""
    change = partial(editing.resume, name=name, editor=_editor(caller), expected=_expected(if_match))
    resumed = await write_to(request, change)
    log.info("schedule_resumed", schedule=name)
    return _shown(resumed)


@router.post(
    "/{name}/trigger",
    status_code=202,
    response_model=schemas.Occurrence,
    responses=problems(400, 404, 412, 422),
    summary="Have a job made now",
    openapi_extra={"x-idempotency-key": True},
)
async def trigger_schedule(request: Request, caller: Caller, name: Name, if_match: IfMatch = None) -> Response:
    """Make a job apart from the timing, also during a pause. `overlap` is heeded: the answer says what was decided."""
    route = f"/api/v1/schedules/{name}/trigger"
    key = idempotency(request.headers.getlist("idempotency-key"), route=route, body=b"{}")
    ask = partial(by_hand.trigger, name=name, asker=_asker(request, caller), idempotency=key)
    run = partial(ask, expected=_expected(if_match))
    occurrence, bells, is_old = await write_to(request, run)
    request.app.state.dispatcher.ring(bells)
    if not is_old:
        _tell(request, "schedule_triggered", name, [occurrence])
    return answer(schemas.Occurrence.of(occurrence), 202, {"Idempotency-Replayed": "true"} if is_old else {})


@router.post(
    "/{name}/backfill",
    status_code=200,
    response_model=schemas.Backfill,
    responses=problems(400, 404, 413, 415, 422),
    summary="Have jobs made for a span of the past",
    openapi_extra={"x-body": "BackfillRequest"},
)
async def backfill_schedule(request: Request, caller: Caller, name: Name) -> Response:
    """Make the jobs of all instants of the span that have none, or with `dry_run` tell which these are."""
    text = await body.read(request, request.app.state.settings.body_limit_bytes)
    wanted = body.parse(schemas.BackfillRequest, text)
    asker = _asker(request, caller)
    ask = partial(by_hand.backfill, name=name, asker=asker, first=wanted.first, last=wanted.last)
    done = await write_to(request, partial(ask, dry_run=wanted.dry_run))
    _tell(request, "schedule_backfilled", name, [one.occurrence for one in done if one.is_new and one.occurrence])
    instants = [
        schemas.BackfillInstant(
            **planning.shown(one.instant),
            is_new=one.is_new,
            occurrence=schemas.Occurrence.of(one.occurrence) if one.occurrence else None,
        )
        for one in done
    ]
    return answer(schemas.Backfill(dry_run=wanted.dry_run, instants=instants))


def _tell(request: Request, event: str, name: str, decided: Sequence[Row]) -> None:
    """Count what was decided, and log it with the jobs that it made, `MOST_LINES` of them by their ids."""
    made = [row for row in decided if row["job_id"] is not None]
    log.info(event, schedule=name, decided=len(decided), jobs=len(made))
    logs.info_each(
        "jobs_accepted", [{"job_id": row["job_id"], "schedule": name, "count": 1} for row in made[:MOST_LINES]]
    )
    counts = Counter((row["decision"], row["reason"]) for row in decided)
    for labels, count in counts.items():
        request.app.state.instruments["occurrences"].labels(*labels).inc(count)


@router.get("/{name}/preview", response_model=schemas.Preview, responses=problems(404, 422), summary="Look ahead")
async def preview_schedule(
    request: Request,
    caller: Caller,
    name: Name,
    count: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = 20,
    after: Annotated[Instant | None, Query(description="Default: what is still to run")] = None,
) -> Response:
    """Return the next instants in UTC and by the clock of the zone, gaps and folds marked, paused or not."""

    def look(connection: Connection) -> schemas.Preview:
        found = store.find(connection, name, tenant=caller.tenant)
        return planning.preview(found, after or runs_after(found, store.clock(connection)), count)

    return answer(await read_from(request, look))


@router.get(
    "/{name}/occurrences", response_model=schemas.OccurrencePage, responses=problems(400, 404, 422),
    summary="Look at what was decided",
)  # fmt: skip
async def list_occurrences(
    request: Request,
    caller: Caller,
    name: Name,
    decision: Decision | None = None,
    first: Annotated[Instant | None, Query(alias="from", description="Not before this instant")] = None,
    last: Annotated[Instant | None, Query(alias="to", description="Not after this instant")] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=job_search.MAX_PAGE)] = 50,
) -> Response:
    """Return the decisions about the schedule's instants with their reasons and jobs, the latest instants first.

    Also those of a schedule that was deleted, for as long as they are kept.
    """
    if first is not None and last is not None and last < first:
        raise InvalidRequest(errors=[{"field": "to", "message": "lies before from; swap them"}])
    wanted = Span(decision=decision, first=first, last=last)
    query = partial(search.list_occurrences, name=name, wanted=wanted, tenant=caller.tenant, limit=limit, cursor=cursor)
    page = await read_from(request, query)
    found = [schemas.Occurrence.of(row) for row in page.rows]
    return answer(schemas.OccurrencePage(occurrences=found, next_cursor=page.next_cursor))
