"""`penstock job`, `jobs` and `dead-letters`: what happened, and why."""

from collections.abc import Iterator
from typing import Annotated

import typer

from deploy.cli import options, screen, views
from deploy.cli.client import Api, Json, connected
from deploy.cli.waiting import exit_code, wait_for
from jobs.state import JobState

app = typer.Typer()

Limit = Annotated[int, typer.Option(min=1, metavar="N", help="Show at most so many")]
All = Annotated[bool, typer.Option("--all", help="Show all of them")]


@app.command(
    rich_help_panel=options.JOBS,
    epilog=options.examples(
        "penstock job 019a5f0e-7c1b-7d3e-9c55-0f2a4f9f7a11",
        "penstock job 019a5f0e-7c1b-7d3e-9c55-0f2a4f9f7a11 --wait 60",
        "penstock job 019a5f0e-7c1b-7d3e-9c55-0f2a4f9f7a11 --attempts --events",
        "penstock job 019a5f0e-7c1b-7d3e-9c55-0f2a4f9f7a11 --logs",
        "penstock job 019a5f0e-7c1b-7d3e-9c55-0f2a4f9f7a11 --json | jq .result",
    ),
)
def job(
    job_id: options.JobId,
    *,
    wait: options.Wait = None,
    attempts: Annotated[bool, typer.Option("--attempts", help="Show each attempt, its outcome and its error")] = False,
    events: Annotated[bool, typer.Option("--events", help="Show what happened to it, in order")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Show what its task logged")] = False,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Look at a job: its state, payload, result, error and timings.

    With --wait the exit code tells how it ended: 0 succeeded, 1 failed,
    cancelled or expired, 3 not yet.
    """
    with connected(url, key_file) as api:
        path = f"/jobs/{job_id}"
        found = wait_for(api, str(job_id), wait) if wait else api.get(path)
        tries = api.get(f"{path}/attempts")["attempts"] if attempts else None
        story = list(_events(api, path)) if events else None
        lines = list(_logs(api, path)) if logs else None
    if json:
        more = {"attempts": tries, "events": story, "logs": lines}
        screen.dump(found | {name: value for name, value in more.items() if value is not None})
    else:
        views.show_job(found, as_json=False)
        if tries is not None:
            views.show_attempts(tries)
        if story is not None:
            views.show_events(story)
        if lines is not None:
            views.show_logs(lines)
    raise typer.Exit(exit_code([found["state"]]) if wait else 0)


def _events(api: Api, path: str) -> Iterator[Json]:
    """Yield the events from the first on; the API gives some at a time."""
    seen = 0
    while found := api.get(f"{path}/events", headers={"Last-Event-ID": str(seen)})["events"]:
        yield from found
        seen = found[-1]["seq"]


def _logs(api: Api, path: str) -> Iterator[Json]:
    """Yield what the task logged from the first line on."""
    seen = 0
    while found := api.get(f"{path}/logs", params={"after": seen, "limit": 1000})["lines"]:
        yield from found
        seen = found[-1]["seq"]


@app.command(
    rich_help_panel=options.JOBS,
    epilog=options.examples(
        "penstock jobs",
        "penstock jobs --state failed --task http.request --limit 200",
        "penstock jobs --state queued --tag nightly --all | cut -f1 | xargs penstock cancel",
        "penstock jobs --json | jq -r .id",
    ),
)
def jobs(
    *,
    state: Annotated[JobState | None, typer.Option(help="Only those in this state")] = None,
    task: options.TaskFilter = None,
    queue: Annotated[str | None, typer.Option(metavar="QUEUE", help="Only those of this queue")] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Only those with this tag")] = None,
    limit: Limit = 50,
    everything: All = False,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Find jobs, newest first.

    Elsewhere than on a terminal each is a line with tabs between the fields:
    id, task, state, queue, priority, attempt, created_at, finished_at, tags.
    """
    wanted = {"state": state, "task": task, "queue": queue, "tag": tag}
    with connected(url, key_file) as api:
        views.show_jobs(api.pages("/jobs", "jobs", wanted, None if everything else limit), as_json=json)


@app.command(
    "dead-letters",
    rich_help_panel=options.DEAD_LETTERS,
    epilog=options.examples(
        "penstock dead-letters",
        "penstock dead-letters --task http.request --reason exhausted --all",
    ),
)
def dead_letters(
    *,
    task: options.TaskFilter = None,
    reason: options.ReasonFilter = None,
    limit: Limit = 50,
    everything: All = False,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Look at the jobs that failed for good and that nobody has dealt with, newest first.

    Elsewhere than on a terminal each is a line with tabs between the fields:
    id, task, reason, error, attempt, finished_at.
    """
    wanted = {"task": task, "reason": reason}
    with connected(url, key_file) as api:
        found = api.pages("/dead-letters", "dead_letters", wanted, None if everything else limit)
        views.show_dead_letters(found, as_json=json)
