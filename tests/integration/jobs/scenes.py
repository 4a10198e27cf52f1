"""Short ways to bring a job where a test needs it, through the real functions, each in a transaction of its own."""

import time
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, RowMapping, func, insert, select, text, update

from jobs import attempts as life
from jobs import control, intake, upkeep
from jobs.database import transaction
from jobs.intake import Answer
from jobs.job_logs import APART
from jobs.model import Acceptance, Attempt, JobId, NewJob, Receipt, Settlement, Submission, Verdict
from jobs.state import JobState
from jobs.tables import attempts, events, job_logs, jobs
from tests.factories import new_job, settle, submission

LONG: Final = timedelta(hours=1)


def submit(engine: Engine, *submissions: Submission) -> list[Answer]:
    """Hand in requests in one transaction and return their answers."""
    with transaction(engine) as connection:
        return intake.accept(connection, submissions)


def accepted(engine: Engine, *new: NewJob) -> tuple[Receipt, ...]:
    """Have jobs accepted in one request and return their receipts."""
    (answer,) = submit(engine, submission(*new))
    assert isinstance(answer, Acceptance)
    return answer.receipts


def queued(engine: Engine, **changes: Any) -> JobId:
    """Return a job that waits for a worker."""
    return accepted(engine, new_job(**changes))[0].id


def scheduled(engine: Engine, **changes: Any) -> JobId:
    """Return a job that waits for its hour."""
    return queued(engine, **{"delay": LONG} | changes)


def start(engine: Engine, *ids: JobId, worker: str = "worker-1", lease: timedelta = life.LEASE) -> list[Attempt]:
    """Start what can be started of `ids`."""
    with transaction(engine) as connection:
        return life.start(connection, ids, worker=worker, lease=lease)


def running(engine: Engine, **changes: Any) -> Attempt:
    """Return the first attempt at a new job."""
    (attempt,) = start(engine, queued(engine, **changes))
    return attempt


def lost(engine: Engine, **changes: Any) -> Attempt:
    """Return an attempt whose lease has run out."""
    attempt = running(engine, **changes)
    let_lease_run_out(engine, attempt.job_id)
    return attempt


def finish(engine: Engine, *settlements: Settlement) -> list[life.Settled]:
    """End attempts and return those whose end was accepted."""
    with transaction(engine) as connection:
        return life.finish(connection, settlements)


def end(engine: Engine, attempt: Attempt, verdict: Verdict) -> JobState | None:
    """End one attempt and return the state of its job; None: it was fenced."""
    done = finish(engine, settle(attempt, verdict))
    return done[0].state if done else None


def ended(engine: Engine, verdict: Verdict, **changes: Any) -> JobId:
    """Return a new job whose first attempt ended with `verdict`."""
    attempt = running(engine, **changes)
    assert end(engine, attempt, verdict) is not None
    return attempt.job_id


def change(engine: Engine, job_id: JobId, **values: Any) -> None:
    """Write into the row behind everyone's back."""
    with transaction(engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def let_lease_run_out(engine: Engine, job_id: JobId) -> None:
    """Make it a minute later for this job's lease."""
    change(engine, job_id, lease_expires_at=func.now() - timedelta(minutes=1))


def make_due(engine: Engine, job_id: JobId) -> None:
    """Make it the hour that this job waits for."""
    change(engine, job_id, run_at=func.now() - timedelta(seconds=1))


Record = tuple[RowMapping, list[RowMapping], list[RowMapping]]
"""The row of a job, its events and its attempts."""


def row(engine: Engine, job_id: JobId) -> RowMapping:
    """Return all that the table has of the job."""
    with engine.connect() as connection:
        return connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().one()


def log(engine: Engine, job_id: JobId, *said: str, number: int = 1) -> None:
    """Have lines in the job's log, whatever its state."""
    rows = [
        {
            "job_id": job_id,
            "seq": number * APART + place,
            "attempt": number,
            "level": "info",
            "event": event,
            "bytes": 9,
        }
        for place, event in enumerate(said, 1)
    ]
    with transaction(engine) as connection:
        connection.execute(insert(job_logs).values(at=func.now()), rows)


def state(engine: Engine, job_id: JobId) -> JobState:
    """Return where the job is in its life."""
    return JobState(row(engine, job_id)["state"])


def told(engine: Engine, job_id: JobId) -> list[str]:
    """Return the names of the job's events, in order."""
    return [event["name"] for event in events_of(engine, job_id)]


def events_of(engine: Engine, job_id: JobId) -> list[RowMapping]:
    """Return the job's events, in order."""
    with engine.connect() as connection:
        query = select(events).where(events.c.job_id == job_id).order_by(events.c.seq)
        return list(connection.execute(query).mappings())


def attempts_of(engine: Engine, job_id: JobId) -> list[RowMapping]:
    """Return the job's attempts, in order."""
    with engine.connect() as connection:
        query = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
        return list(connection.execute(query).mappings())


def outcomes(engine: Engine, job_id: JobId) -> list[str | None]:
    """Return how each attempt at the job ended."""
    return [attempt["outcome"] for attempt in attempts_of(engine, job_id)]


def stored(engine: Engine) -> int:
    """Return how many jobs there are."""
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def database_now(engine: Engine) -> datetime:
    """Return what the database's clock shows."""
    with engine.connect() as connection:
        now = connection.scalar(select(func.clock_timestamp()))
    assert isinstance(now, datetime)
    return now


def assert_sound(engine: Engine, job_id: JobId) -> Record:
    """Assert what is true of every job at every moment, whatever happened to it, and return what is on record."""
    job, happened, tried = found = row(engine, job_id), events_of(engine, job_id), attempts_of(engine, job_id)

    assert [event["seq"] for event in happened] == list(range(1, job["event_count"] + 1))
    assert [event["at"] for event in happened] == sorted(event["at"] for event in happened)
    assert happened[0]["name"] == "accept"
    assert happened[-1]["state"] == job["state"]
    assert [attempt["number"] for attempt in tried] == list(range(1, job["attempt"] + 1))
    open_attempts = [attempt["number"] for attempt in tried if attempt["outcome"] is None]
    assert open_attempts == ([job["attempt"]] if job["state"] == JobState.RUNNING else [])
    assert [event["name"] for event in happened].count("start") == job["attempt"]
    return found


def wait_for_lock(engine: Engine, *, seconds: float = 10) -> None:
    """Return once another session of this database waits for a lock. Raises `TimeoutError`."""
    waiting = text("SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    deadline = time.monotonic() + seconds
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.execute(waiting).first() is None:
            if time.monotonic() > deadline:
                raise TimeoutError("nobody waits for a lock")


def ask_for_cancel(engine: Engine, attempt: Attempt) -> None:
    """Ask a running job to end."""
    with transaction(engine) as connection:
        assert control.cancel(connection, attempt.job_id) is JobState.RUNNING


def held(engine: Engine, *held_by_us: Attempt) -> list[life.Held]:
    """Extend the leases of these attempts and return those that are still theirs."""
    with transaction(engine) as connection:
        return life.extend(connection, [(attempt.job_id, attempt.number) for attempt in held_by_us])


def report(engine: Engine, attempt: Attempt, value: int) -> bool:
    """Report progress and tell whether it was taken."""
    with transaction(engine) as connection:
        return life.progress(connection, attempt.job_id, attempt.number, {"step": value})


def taken_over(engine: Engine) -> tuple[Attempt, Attempt]:
    """Return an attempt that was rescued, and the one that came after it."""
    old = lost(engine)
    with transaction(engine) as connection:
        upkeep.rescue_lost(connection)
    (new,) = start(engine, old.job_id, worker="worker-2")
    return old, new
