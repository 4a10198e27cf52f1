"""Submitting jobs, looking at them, and changing their course."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from api import body, schemas
from api.crowd import Crowd
from api.group_commit import GroupCommit
from api.line import Line
from api.openapi import ETAG, LOCATION, READ_FROM
from api.patience import in_time
from api.problems import InvalidRequest
from api.routes import DirectRoute, answer, page_from, problems, read_from, write_to
from api.security import Caller
from api.settings import ApiSettings
from api.submission import Intake, idempotency
from api.waiting import Lookout
from jobs import control, intake, search
from jobs.errors import OutcomeUnknown, RefusedError, Unavailable
from jobs.failpoints import passed, reached
from jobs.job_logs import MOST_LINES
from jobs.keys import Principal
from jobs.model import Acceptance, NewJob, Receipt, Submission
from jobs.search import Filter
from jobs.state import FINAL, JobState

router = APIRouter(prefix="/api/v1", tags=["jobs"])
hot = APIRouter(prefix="/api/v1", tags=["jobs"], route_class=DirectRoute)

log = structlog.get_logger()

IDEMPOTENCY_KEY = "idempotency-key"
Asked = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]
"""A text to look for; none that is stored holds NUL, and PostgreSQL would not even look for it."""


@hot.post(
    "/jobs",
    status_code=202,
    response_model=schemas.Accepted,
    responses=problems(400, 409, 413, 415, 422) | {202: LOCATION},
    summary="Submit a job",
    openapi_extra={"x-body": "JobRequest", "x-idempotency-key": True},
)
async def submit(request: Request, caller: Caller) -> Response:
    """Answer 202 when the job is durable: it will run, whatever happens to any process from here on."""
    settings: ApiSettings = request.app.state.settings
    checks: Intake = request.app.state.intake
    commits: GroupCommit = request.app.state.commits
    text = await body.read(request, settings.body_limit_bytes)
    wanted = body.parse(schemas.JobRequest, text)
    key = idempotency(request.headers.getlist(IDEMPOTENCY_KEY), route="/api/v1/jobs", body=text)
    scope = request.scope
    job = checks.new_job(wanted, caller, request_id=scope["request_id"], traceparent=scope["traceparent"])
    acceptance = _accepted(await commits.submit(Submission((job,), key)), index=False)
    receipt = acceptance.receipts[0]
    return answer(_view(receipt), 202, _headers(acceptance) | {"Location": f"/api/v1/jobs/{receipt.id}"})


@hot.post(
    "/jobs/batch",
    status_code=202,
    response_model=schemas.BatchAccepted,
    responses=problems(400, 409, 413, 415, 422),
    summary="Submit up to 1,000 jobs, all or nothing",
    openapi_extra={"x-body": "BatchRequest", "x-idempotency-key": True},
)
async def submit_batch(request: Request, caller: Caller) -> Response:
    """Answer 202 when all jobs are durable, or name the first that is refused, and none was stored."""
    settings: ApiSettings = request.app.state.settings
    text = await body.read(request, settings.batch_limit_bytes)
    line: Line = request.app.state.batches
    if reason := line.verdict(Crowd()):  # others may have come while this one's body was on its way
        raise reason
    take = partial(_take_batch, request, caller, text)
    acceptance = await in_time(line, take, otherwise=OutcomeUnknown, weight=max(1, text.count(b'"task"')))
    ids = [receipt.id for receipt in acceptance.receipts]
    return answer(schemas.BatchAccepted(ids=ids), 202, _headers(acceptance))


def _take_batch(request: Request, caller: Principal, text: bytes) -> Acceptance:
    settings: ApiSettings = request.app.state.settings
    checks: Intake = request.app.state.intake
    commits: GroupCommit = request.app.state.commits
    wanted = body.parse(schemas.BatchRequest, text).jobs
    key = idempotency(request.headers.getlist(IDEMPOTENCY_KEY), route="/api/v1/jobs/batch", body=text)
    if len(wanted) > settings.batch_limit_jobs:
        where = [{"field": "jobs", "message": f"has more than {settings.batch_limit_jobs} items"}]
        raise InvalidRequest(errors=where)
    scope = request.scope
    jobs = checks.batch(wanted, caller, request_id=scope["request_id"], traceparent=scope["traceparent"])
    return _accepted(commits.submit_alone(Submission(jobs, key)), index=True)


def _accepted(result: intake.Answer, *, index: bool) -> Acceptance:
    """Return the acceptance, or raise the refusal; only that of a batch has an index."""
    if isinstance(result, RefusedError):
        if not index:
            result.index = None
        raise result
    return result


def _headers(acceptance: Acceptance) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if acceptance.replayed else {}


def _view(receipt: Receipt) -> schemas.Accepted:
    return schemas.Accepted(
        id=receipt.id,
        task=receipt.task,
        queue=receipt.queue,
        priority=receipt.priority,
        state=receipt.state,
        run_at=receipt.run_at,
        created_at=receipt.created_at,
        links=schemas.links(receipt.id),
    )


@router.get(
    "/jobs", response_model=schemas.JobPage, responses=problems(400, 422) | {200: READ_FROM}, summary="Find jobs"
)
async def list_jobs(
    request: Request,
    caller: Caller,
    state: JobState | None = None,
    queue: Asked = None,
    task: Asked = None,
    tag: Asked = None,
    created_after: schemas.Instant | None = None,
    created_before: schemas.Instant | None = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=search.MAX_PAGE)] = 50,
) -> Response:
    """Return the newest jobs that match all that is given, a page at a time."""
    wanted = Filter(
        state=state, queue=queue, task=task, tag=tag, created_after=created_after, created_before=created_before
    )
    query = partial(search.list_jobs, wanted=wanted, tenant=caller.tenant, limit=limit)
    page, headers = await page_from(request, query, cursor)
    jobs = [schemas.JobSummary.of(row) for row in page.rows]
    return answer(schemas.JobPage(jobs=jobs, next_cursor=page.next_cursor), headers=headers)


@router.get(
    "/jobs/{job_id:uuid}",
    response_model=schemas.Job,
    responses=problems(404, 422) | {200: ETAG, 304: {"description": "Unchanged since the ETag that was given", **ETAG}},
    summary="Look at a job",
)
async def get_job(
    request: Request,
    caller: Caller,
    job_id: UUID,
    wait_seconds: Annotated[float, Query(ge=0, le=300, description="Answer when the job has finished, or then")] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return all that is known of the job, at once or when it has finished."""
    query = partial(search.job, job_id=job_id, tenant=caller.tenant)
    row = await read_from(request, query)
    if wait_seconds and row["state"] not in FINAL:
        most = request.app.state.settings.long_poll_limit_seconds
        lookout: Lookout = request.app.state.lookout
        with lookout.seat():
            await lookout.until_finished(job_id, min(wait_seconds, most))
        row = await read_from(request, query)
    tag = f'"{row["version"]}"'
    if if_none_match is not None and {tag, "*"} & {one.strip().removeprefix("W/") for one in if_none_match.split(",")}:
        return Response(status_code=304, headers={"ETag": tag})
    return answer(schemas.Job.of(row), headers={"ETag": tag})


@router.get(
    "/jobs/{job_id:uuid}/attempts",
    response_model=schemas.Attempts,
    responses=problems(404),
    summary="Look at a job's attempts",
)
async def get_attempts(request: Request, caller: Caller, job_id: UUID) -> Response:
    """Return every attempt with its outcome and error."""
    rows = await read_from(request, partial(search.attempts_of, job_id=job_id, tenant=caller.tenant))
    return answer(schemas.Attempts(attempts=[schemas.Attempt.model_validate(dict(row)) for row in rows]))


@router.get(
    "/jobs/{job_id:uuid}/logs",
    response_model=schemas.LogLines,
    responses=problems(404, 422),
    summary="Read what a job's task logged",
)
async def get_logs(
    request: Request,
    caller: Caller,
    job_id: UUID,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Only what came after this `seq`")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_LINES)] = 200,
) -> Response:
    """Return the lines that the task wrote with `self.job.log`, of all attempts, the first ones first."""
    query = partial(search.logs_of, job_id=job_id, tenant=caller.tenant, after=after, limit=limit)
    rows = await read_from(request, query)
    return answer(schemas.LogLines(lines=[schemas.LogLine.model_validate(dict(row)) for row in rows]))


@router.post(
    "/jobs/{job_id:uuid}/cancel",
    status_code=202,
    response_model=schemas.Job,
    responses=problems(404, 409),
    summary="Cancel a job",
)
async def cancel(request: Request, caller: Caller, job_id: UUID) -> Response:
    """Cancel a waiting job at once; have a running one asked, then interrupted, then killed."""
    await write_to(request, partial(control.cancel, job_id=job_id, tenant=caller.tenant))
    log.info("job_cancel_requested", job_id=job_id)
    with _done():
        return await _shown(request, caller, job_id, 202)


@router.post(
    "/jobs/{job_id:uuid}/retry",
    response_model=schemas.Job,
    responses=problems(404, 409),
    summary="Send the same job to work again",
)
async def retry(request: Request, caller: Caller, job_id: UUID) -> Response:
    """Queue a failed, cancelled, expired or retrying job now, with its retries begun anew."""
    bell = await write_to(request, partial(control.retry, job_id=job_id, tenant=caller.tenant))
    log.info("job_retried", job_id=job_id, task=bell.task)
    with _done():
        reached("control.ring")
        request.app.state.dispatcher.ring([bell])
        passed("control.ring")
        return await _shown(request, caller, job_id, 200)


@contextmanager
def _done() -> Iterator[None]:
    """Have nobody told that nothing was stored, when all that is missing is the answer. Raises `OutcomeUnknown`."""
    try:
        yield
    except Unavailable as error:
        raise OutcomeUnknown from error


async def _shown(request: Request, caller: Principal, job_id: UUID, status: int) -> Response:
    row = await read_from(request, partial(search.job, job_id=job_id, tenant=caller.tenant))
    return answer(schemas.Job.of(row), status)


@router.post(
    "/jobs/{job_id:uuid}/replay",
    status_code=201,
    response_model=schemas.Accepted,
    responses=problems(400, 404, 409, 413, 415, 422) | {201: LOCATION},
    summary="Submit a finished job again, as a new job",
    openapi_extra={"x-body": "ReplayRequest", "x-body-optional": True, "x-idempotency-key": True},
)
async def replay(request: Request, caller: Caller, job_id: UUID) -> Response:
    """Make a new job like the finished one, with `replay_of` pointing back; a dead letter is thereby dealt with."""
    return await replay_job(request, caller, job_id, letter=False)


async def replay_job(request: Request, caller: Principal, job_id: UUID, *, letter: bool) -> Response:
    """Replay the job, and close it when it is a dead letter; with `letter` it must be one that is open."""
    text = await body.read_optional(request, request.app.state.settings.body_limit_bytes)
    wanted = body.parse(schemas.ReplayRequest, text)
    route = f"/api/v1/{'dead-letters' if letter else 'jobs'}/{job_id}/replay"
    key = idempotency(request.headers.getlist(IDEMPOTENCY_KEY), route=route, body=text)
    changes: dict[str, Any] = {
        "submitter": caller.key_id,
        "request_id": request.scope["request_id"],
        "traceparent": request.scope["traceparent"],
    }
    if wanted.payload is not None:
        changes["payload"] = body.storable(wanted.payload)
    run = partial(_replay, request, job_id, tenant=caller.tenant, changes=changes, key=key, letter=letter)
    acceptance = await in_time(request.app.state.desk, run, otherwise=OutcomeUnknown)
    receipt = acceptance.receipts[0]
    if not acceptance.replayed:
        log.info("job_replayed", job_id=job_id, replayed_as=receipt.id)
        log.info("jobs_accepted", job_id=receipt.id, task=receipt.task, count=1)
    return answer(_view(receipt), 201, _headers(acceptance) | {"Location": f"/api/v1/jobs/{receipt.id}"})


def _replay(request: Request, job_id: UUID, **wishes: Any) -> Acceptance:
    checks: Intake = request.app.state.intake

    def check(job: NewJob) -> None:
        checks.catalogue[job.task].check(job.payload)

    acceptance, bells = request.app.state.replays(job_id, check=check, **wishes)
    request.app.state.dispatcher.ring(bells)
    assert isinstance(acceptance, Acceptance)  # noqa: S101 - app.state is untyped
    return acceptance
