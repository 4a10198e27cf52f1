"""`penstock submit`: one job or many, accepted once however often it takes to get through."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Final
from uuid import uuid4

import typer

from deploy.cli import options, screen, values, views
from deploy.cli.client import PASSING, Api, Json, connected
from deploy.cli.errors import Refusal, Unreachable
from deploy.cli.grouping import grouped
from deploy.cli.job_options import Arguments, Priority, Queue, Task, Terms
from deploy.cli.waiting import exit_code, wait_for, wait_for_all

BATCH: Final = 1000
"""Jobs in one request: the API's default limit."""

app = typer.Typer()

Delay = Annotated[
    float | None, typer.Option(metavar="DURATION", parser=values.duration, help="Not before so long: 90, 10m, 2h, 1d")
]
RunAt = Annotated[str | None, typer.Option(metavar="TIME", parser=values.instant, help="Not before: 2030-01-31T18:00Z")]
ExpiresAt = Annotated[
    str | None, typer.Option(metavar="TIME", parser=values.instant, help="Not started any more from this instant")
]
OwnKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Two submissions with the same key are one, for 24 hours. Default: a new one"),
]
Count = Annotated[int, typer.Option(min=1, metavar="N", help="Submit the same job so many times")]


@app.command(
    rich_help_panel=options.JOBS,
    epilog=options.examples(
        "penstock submit demo.echo -p message=hello --wait 10",
        """penstock submit demo.echo --payload '{"message": "hello"}' --priority 9 --tag greeting""",
        "penstock submit demo.flaky -p failures=2 --retry-max 5 --delay 10m",
        "penstock submit demo.noop --count 5000 --wait 60",
        "cat payload.json | penstock submit http.request --payload-file - --unique-key report-7",
    ),
)
@grouped
def submit(
    task: Task,
    *,
    arguments: Arguments,
    queue: Queue = None,
    priority: Priority = None,
    delay: Delay = None,
    run_at: RunAt = None,
    expires_at: ExpiresAt = None,
    terms: Terms,
    idempotency_key: OwnKey = None,
    count: Count = 1,
    wait: options.Wait = None,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Submit a job.

    It is durable when this command has said that it was accepted, and it was
    accepted once: what did not get through is sent again for ten seconds under
    one Idempotency-Key.

    With --wait the exit code tells how the job ended: 0 succeeded, 1 failed,
    cancelled or expired, 3 not yet.
    """
    when = values.given(delay_seconds=delay, run_at=run_at, expires_at=expires_at)
    where = values.given(queue=queue, priority=priority)
    body = {"task": task, "payload": arguments.together(), **where, **when, **terms.body()}
    key = idempotency_key or str(uuid4())
    with connected(url, key_file) as api:
        send = submit_one if count == 1 else partial(submit_many, count=count)
        raise typer.Exit(send(api, body, key=key, wait=wait, as_json=json))


@contextmanager
def _resumable(key: str) -> Iterator[None]:
    """Say under which key the same can be sent again, where it is not known whether it was stored."""
    try:
        yield
    except (Unreachable, Refusal) as trouble:
        if isinstance(trouble, Unreachable) or trouble.status in PASSING:
            trouble.details.append(f"to send the same again, and not twice: --idempotency-key {key}")
        raise


def submit_one(api: Api, body: Json, *, key: str, wait: float | None, as_json: bool) -> int:
    """Submit the job, tell of it, wait for it if that is wanted, and return the exit code."""
    with _resumable(key):
        accepted, replayed = api.submit("/jobs", body, key=key)
    if replayed:
        screen.note("It had been accepted before, under the same Idempotency-Key.")
    if wait:
        screen.note(f"Accepted as {accepted['id']}.")
        job = wait_for(api, accepted["id"], wait)
        views.show_job(job, as_json=as_json)
        return exit_code([job["state"]])
    views.show_accepted(accepted, as_json=as_json)
    return 0


def submit_many(api: Api, body: Json, *, count: int, key: str, wait: float | None, as_json: bool) -> int:
    """Submit the job `count` times in batches, wait if that is wanted, and return the exit code."""
    began = time.monotonic()
    ids: list[str] = []
    with _resumable(key), screen.progress() as bar:
        shown = bar.add_task("Submitting", total=count)
        for found in _batches(api, body, count, key):
            ids += found
            bar.update(shown, completed=len(ids))
            if not wait:
                views.show_ids(found, as_json=as_json)
    seconds = time.monotonic() - began
    screen.note(f"Accepted {count} jobs in {seconds:.2f} s ({count / seconds:,.0f}/s).")
    if not wait:
        return 0
    states = wait_for_all(api, ids, wait)
    views.show_states(states, as_json=as_json)
    return exit_code(states)


def _batches(api: Api, body: Json, count: int, key: str) -> Iterator[list[str]]:
    """Submit batch after batch, each with a key of its own, so that the same command again changes nothing."""
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        own = key if count <= BATCH else f"{key}-{start // BATCH}"
        accepted, _ = api.submit("/jobs/batch", {"jobs": [body] * size}, key=own)
        yield accepted["ids"]
