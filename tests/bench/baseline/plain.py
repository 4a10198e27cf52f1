"""Plain Celery with a result backend, as its documentation sets it up.

Prefetch multiplier 4 and early acknowledgement are the defaults; events are off. The backend is PostgreSQL
(`db+postgresql+psycopg://`) or Redis (`redis://`), whichever RESULT_BACKEND names.
"""

import os
import sys

from celery import Celery

app = Celery("plain", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_BACKEND"])
app.conf.update(task_default_queue="plain")


@app.task(name="plain.noop")
def noop() -> None:
    pass


if __name__ == "__main__":
    # The count of messages to put into the queue. Under `python -m` this module is `__main__`; the task has an
    # explicit name, so the worker knows it.
    for _ in range(int(sys.argv[1])):
        noop.delay()
