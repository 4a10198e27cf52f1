"""One attempt, told top to bottom: bind the payload, run the task, say how it ended.

Runs where the task runs: in a child of the pool, or in one of its threads. It settles nothing: the
ending travels to the worker's main process, which does.
"""

import traceback
from datetime import timedelta
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple

import structlog
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject

from jobs.errors import AttemptFenced, InvalidPayload, JobCancelled, PermanentError, Throttled, UnknownTask
from jobs.failpoints import passed, reached
from jobs.model import Attempt, Failure
from jobs.storable import storable, storable_json
from jobs.telemetry import logs, printed
from tasks.catalogue import TaskSpec
from tasks.context import Recorder, RetryIn, current_job, recorder
from tasks.measures import Measure
from worker import pool_process
from worker.own_job import OwnJob

_LONGEST_MESSAGE: Final = 4_000
_LONGEST_TRACE: Final = 32_000


class How(StrEnum):
    """How a task left its function."""

    SUCCEEDED = "succeeded"
    ERRED = "erred"
    GAVE_UP = "gave_up"
    """With an error that no retry helps."""
    THROTTLED = "throttled"
    ASKED_RETRY = "asked_retry"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    FENCED = "fenced"
    LOST = "lost"
    """The process died; told by the main process."""
    RELEASED = "released"
    """The worker gives the job back; told by the main process."""


_FAILED: Final = (How.ERRED, How.GAVE_UP, How.TIMED_OUT)


class Ending(NamedTuple):
    """How an attempt ended, in values that travel between processes."""

    how: How
    result: str | None = None
    failure: Failure | None = None
    retry_in: timedelta | None = None
    most_retries: int | None = None
    measures: tuple[Measure, ...] = ()
    """What the task has measured of its own business."""
    dropped: int = 0
    """How much more it has measured."""


def run_attempt(attempt: Attempt) -> Ending:
    """Run the task of `attempt` and return how it ended. Raises nothing."""
    here = pool_process.current()
    if here.traced is None:
        return _run(attempt, here)
    ending: Ending = here.traced(attempt, partial(_run, attempt, here))
    return ending


def _run(attempt: Attempt, here: pool_process.PoolProcess) -> Ending:
    job = OwnJob(attempt, here.database)
    token = current_job.set(job)
    about = logs.about(**logs.facts_of(attempt))
    with pool_process.unstopped(), pool_process.interruptible(), about:
        reached("attempt.run")
        try:
            spec = here.catalogue[attempt.task]
            value = _call(here.task(attempt.task), spec.bind(attempt.payload), attempt)
            ending = Ending(How.SUCCEEDED, result=stored_result(spec, value, here.result_limit_bytes))
        except BaseException as error:  # noqa: BLE001 - a task may raise anything, and must not take the process down
            ending = _ending(error, here.task(attempt.task))
            if logs.report is not None and ending.how in _FAILED:
                _report(error, here.task(attempt.task), logs.report)
        finally:
            printed.flush()
            current_job.reset(token)
            job.flush()
            passed("attempt.run")
            reached("attempt.report")
        return ending._replace(measures=job.measures.taken(), dropped=job.measures.dropped)


def _report(error: BaseException, task: Any, report: logs.Report) -> None:
    """Report the error of an attempt, unless the task declares that it expects it."""
    if task is None or not isinstance(error, tuple(task.throws)):
        report(error, structlog.contextvars.get_contextvars() | {"event": "attempt_erred"})


def _call(task: Any, arguments: dict[str, Any], attempt: Attempt) -> Any:
    """Call the task through Celery's own tracer, so that its signals, `self.request` and its tools see it."""
    request = {
        "id": str(attempt.job_id),
        "task": attempt.task,
        "root_id": str(attempt.job_id),
        "retries": attempt.error_count,
        "argsrepr": "()",
        "kwargsrepr": "{...}",
        "is_eager": False,
        "ignore_result": True,
        "correlation_id": str(attempt.job_id),
        "delivery_info": {"routing_key": attempt.queue, "priority": attempt.priority},
    }
    kept = Recorder()
    token = recorder.set(kept)
    try:
        task.__trace__(request["id"], (), arguments, request)
    finally:
        recorder.reset(token)
    if kept.error is not None:
        raise kept.error
    if not kept.called:
        raise RuntimeError("A receiver of Celery's task_prerun signal kept the task from running.")
    return kept.value


def stored_result(spec: TaskSpec, value: Any, limit: int) -> str:
    """Return the task's result as JSON that PostgreSQL takes, or a note in its place when it is too large."""
    try:
        result = spec.dump(value)
    except ValueError as error:
        raise PermanentError(str(error)) from None
    size = len(result.encode())
    if size > limit:
        return f'{{"truncated": true, "bytes": {size}, "limit_bytes": {limit}}}'
    return storable_json(result)


def describe(error: BaseException) -> Failure:
    """Return the error as it is kept: its type, its message, and the trace of the task's own frames."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    trace = "".join(traceback.format_exception(kind, error, _own_frames(error), limit=-30))
    return Failure(name, storable(_said(error))[:_LONGEST_MESSAGE], storable(trace)[-_LONGEST_TRACE:])


def _own_frames(error: BaseException) -> TracebackType | None:
    """Return the traceback from where the task's function was called; all of it when it was not."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code is not Recorder.call.__code__:
        frames = frames.tb_next
    return frames.tb_next if frames is not None else error.__traceback__


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 - it is a stranger's code that runs here
        return f"The error cannot say what it is: {type(problem).__name__}."


def _ending(error: BaseException, task: Any) -> Ending:
    failure = describe(error)
    match error:
        case JobCancelled():
            return Ending(How.CANCELLED, failure=failure)
        case AttemptFenced():
            return Ending(How.FENCED, failure=failure)
        case Throttled():
            return Ending(How.THROTTLED, failure=failure, retry_in=error.retry_after)
        case RetryIn():
            cause = describe(error.exc) if error.exc else failure
            return Ending(How.ASKED_RETRY, None, cause, error.delay, error.most_retries)
        case SoftTimeLimitExceeded():
            return Ending(How.TIMED_OUT, failure=failure)
        case Ignore():
            return Ending(How.SUCCEEDED)
        case PermanentError() | InvalidPayload() | UnknownTask() | Reject():
            return Ending(How.GAVE_UP, failure=failure)
        case _:
            return Ending(How.GAVE_UP if _is_final(error, task) else How.ERRED, failure=failure)


def _is_final(error: BaseException, task: Any) -> bool:
    """Tell whether the task's own Celery options rule a retry out.

    A task that lists what it retries (`autoretry_for`) wants nothing else retried; without a list every
    error is worth another attempt, but for those that it declares expected (`throws`) or excepted.
    """
    never = (*task.throws, *getattr(task, "dont_autoretry_for", ()))
    listed = tuple(getattr(task, "autoretry_for", ()))
    return isinstance(error, never) or (bool(listed) and not isinstance(error, listed))
