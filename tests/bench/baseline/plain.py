"""Plain Celery with a result backend, as its documentation sets it up.

Prefetch multiplier 4 and early acknowledgement are the defaults; events are off. The backend is PostgreSQL
(`db+postgresql+psycopg://`) or Redis (`redis://`), whichever RESULT_BACKEND names.
"""

import os
import sys
from typing import Any

from celery import Celery

app = Celery("plain", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_BACKEND"])
app.conf.update(task_default_queue="plain")


@app.task(name="plain.noop")
def noop(payload: dict[str, Any]) -> dict[str, Any]:
    return {"fields": len(payload)}


def fill(*, count: int, payload: dict[str, Any]) -> None:
    """`count` messages are in the queue."""
    for _ in range(count):
        noop.delay(payload)


if __name__ == "__main__":
    # Under `python -m` this module is `__main__`; the task has an explicit name, so the worker knows it.
    fill(count=int(sys.argv[1]), payload={"note": "x" * int(sys.argv[2])})
