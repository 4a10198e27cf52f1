"""Tasks that tests run in real workers: each does one thing that a task may do to its worker."""

import logging
import os
import signal
import sys
import time
import warnings
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import structlog
from billiard.exceptions import SoftTimeLimitExceeded
from celery import shared_task
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_task_logger
from pydantic import BaseModel

from jobs.errors import PermanentError, Throttled

QUICK: dict[str, Any] = {"default_retry_delay": 0.05, "retry_backoff": False}
"""Retries that a test need not wait for."""


class Size(StrEnum):
    """A choice."""

    SMALL = "small"


class Parcel(BaseModel):
    """A thing with parts."""

    to: str
    grams: int


class Refused(Exception):
    """An error that the task expects."""


@shared_task(name="probe.types")
def types(key: UUID, amount: Decimal, at: datetime, size: Size, parcel: Parcel, wait: timedelta) -> dict[str, str]:
    """Return the type of each argument."""
    found = {"key": key, "amount": amount, "at": at, "size": size, "parcel": parcel, "wait": wait}
    return {name: type(value).__name__ for name, value in found.items()}


@shared_task(name="probe.grows")
def grows(megabytes: int) -> int:
    """Take so much memory, and use it."""
    return len(b"x" * (megabytes << 20))


@shared_task(name="probe.logs", bind=True)
def logs(self: Any) -> None:
    """Say something in each of the ways that a task has, and be silent for a while."""
    logging.getLogger("billing").warning("said_by_logging")
    get_task_logger("billing.tasks").warning("said_by_celery")
    structlog.get_logger().warning("said_by_structlog", page=3)
    self.job.log.info("said_of_the_job", page=3)
    while True:
        self.job.check()
        time.sleep(0.05)


@shared_task(name="probe.prints", max_retries=0)
def prints() -> None:
    """Print, to either stream and without an end, warn, and fail."""
    print("printed to stdout")
    print("printed to stderr", file=sys.stderr)
    warnings.warn("warned by a task", stacklevel=1)
    print("and no end", end="")
    raise ValueError


@shared_task(name="probe.traced", bind=True, max_retries=1, **QUICK)
def traced(self: Any, url: str, secret: str) -> int:
    """Ask PostgreSQL and an HTTP server, with a secret in each question; fail the first time."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"SELECT '{secret}'".encode())
    answer = httpx.get(f"{url}?q={secret}", headers={"X-Secret": secret}, trust_env=False)
    self.job.progress(1, 1, secret)
    if self.job.attempt == 1:
        raise ConnectionError(secret)
    return answer.status_code


@shared_task(name="probe.leaks", max_retries=0)
def leaks(secret: str) -> None:
    """Fail with a secret in the error, in its cause and in a variable."""
    kept = {"password": secret}
    try:
        kept[secret]
    except KeyError as error:
        raise ValueError(f"{kept} is wrong") from error


@shared_task(name="probe.request", bind=True)
def request(self: Any) -> dict[str, Any]:
    """Return what the task sees of its own job."""
    return {
        "id": str(self.job.id),
        "celery_id": self.request.id,
        "attempt": self.job.attempt,
        "retries": self.request.retries,
        "token": self.job.fencing_token,
        "pid": os.getpid(),
    }


@shared_task(name="probe.returns")
def returns(kind: str) -> Any:
    """Return something that is hard to store."""
    return {
        "large": "x" * 5000,
        "nul": "a\0b",
        "backslashes": "a\\u0000 \\\0",
        "surrogate": "\ud800",
        "nan": float("nan"),
        "object": object(),
        "none": None,
    }[kind]


#: What `probe.raises` can be asked to raise. Each is a way in which code takes a process down, or its error is odd.
ERRORS: dict[str, Any] = {
    "plain": ValueError("it broke"),
    "nul": ValueError("a\0b"),
    "surrogate": ValueError("half \ud800"),
    "long": ValueError("m" * 10_000),
    "memory": MemoryError("no more"),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "permanent": PermanentError("for good"),
    "refused": Refused("expected"),
    "os": OSError("away"),
    "reject": Reject("not mine", requeue=True),
    "ignore": Ignore(),
}


def throw(kind: str) -> None:
    """Raise, or leave the process."""
    if kind == "recursion":
        throw(kind)
    if kind == "sys.exit":
        sys.exit(4)
    if kind == "os._exit":
        os._exit(5)
    raise ERRORS[kind]


@shared_task(name="probe.raises", max_retries=0)
def raises(kind: str) -> None:
    """Raise what is asked for; no retry."""
    throw(kind)


@shared_task(name="probe.retried", max_retries=2, **QUICK)
def retried(kind: str) -> None:
    """Raise what is asked for; two retries."""
    throw(kind)


@shared_task(
    name="probe.listed", autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,), max_retries=2, **QUICK
)
def listed(kind: str) -> None:
    """Raise what is asked for; only OSError is worth a retry."""
    throw(kind)


@shared_task(name="probe.expects", throws=(Refused,), max_retries=2, **QUICK)
def expects(kind: str) -> None:
    """Raise what is asked for; Refused is expected, and not retried."""
    throw(kind)


@shared_task(name="probe.asks", bind=True, max_retries=5, default_retry_delay=3600, retry_backoff=False)
def asks(self: Any, times: int, most: int | None = None, eta: bool = False) -> int:
    """Ask for another attempt so many times by Celery's own retry()."""
    if self.request.retries < times:
        when = {"eta": datetime.now().astimezone() + timedelta(seconds=0.2)} if eta else {"countdown": 0.2}
        raise self.retry(exc=ValueError("again"), max_retries=most, **when)
    return int(self.request.retries)


@shared_task(name="probe.throttled", bind=True, max_retries=0)
def throttled(self: Any, times: int) -> int:
    """Be put off by the other side so many times."""
    if self.job.attempt <= times:
        raise Throttled("slow down", retry_after=timedelta(seconds=0.1))
    return int(self.job.attempt)


@shared_task(name="probe.naps", max_retries=0)
def naps(seconds: float, log: str | None = None) -> float:
    """Sleep in one piece: nobody is asked anything. Writes a line when it begins and when it ends."""
    _write(log, "begin")
    time.sleep(seconds)
    _write(log, "end")
    return seconds


@shared_task(name="probe.says", max_retries=0)
def says(word: str, log: str) -> None:
    """Write a word."""
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(f"{word}\n")


@shared_task(name="probe.soft", soft_time_limit=1, max_retries=0)
def soft(seconds: float) -> str:
    """Sleep under a soft limit of a second."""
    time.sleep(seconds)
    return "in time"


@shared_task(name="probe.cleans_up", soft_time_limit=1)
def cleans_up(seconds: float) -> str:
    """Use the soft limit to end in good order."""
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "in time"


@shared_task(name="probe.hard", time_limit=1, max_retries=0)
def hard(seconds: float) -> str:
    """Sleep under a hard limit of a second."""
    time.sleep(seconds)
    return "in time"


@shared_task(name="probe.stubborn")
def stubborn(seconds: float) -> str:
    """Sleep, and go on sleeping whatever is raised."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except SoftTimeLimitExceeded:
            continue
    return "slept"


@shared_task(name="probe.crash_once", bind=True)
def crash_once(self: Any) -> int:
    """Take the process down in the first attempt only."""
    if self.job.attempt == 1:
        os._exit(9)
    return int(self.job.attempt)


@shared_task(name="probe.crashes")
def crashes(secret: str) -> None:
    """Take the process down in every attempt."""
    os._exit(9)


@shared_task(name="probe.long_first", bind=True)
def long_first(self: Any, seconds: float, log: str | None = None) -> int:
    """Take long in the first attempt, and no time in a later one. Writes a line when the first begins and ends."""
    if self.job.attempt == 1:
        _write(log, "begin")
        time.sleep(seconds)
        _write(log, "end")
    return int(self.job.attempt)


@shared_task(name="probe.spins", max_retries=0)
def spins(seconds: float) -> int:
    """Count for so long, without a pause and without asking anybody."""
    ends, count = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        count += 1
    return count


@shared_task(name="probe.measures", bind=True, max_retries=0)
def measures(self: Any, paid: int, fail: bool = False) -> None:
    """Measure business of its own."""
    for _ in range(paid):
        self.job.count("orders_paid", currency="EUR")
    self.job.gauge("stock", 7 - paid, store="north")
    self.job.observe("payment_seconds", 0.05)
    if fail:
        raise ValueError("measured, and failed")


@shared_task(name="probe.measures_and_dies", bind=True)
def measures_and_dies(self: Any) -> None:
    """Measure something on which nobody can rely."""
    self.job.count("orders_paid", 1000, currency="EUR")
    if self.job.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def _write(log: str | None, word: str) -> None:
    if log:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{word} {os.getpid()}\n")
