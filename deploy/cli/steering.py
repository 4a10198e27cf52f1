"""`penstock cancel`, `retry`, `replay` and `discard`: changing the course of one job or of many."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final
from uuid import UUID

import typer

from deploy.cli import options, screen, values
from deploy.cli.client import Api, Json, connected
from deploy.cli.errors import DONE, REFUSED, Refusal

app = typer.Typer()

UNAUTHORIZED: Final = 401
ID: Final = "019a5f0e-7c1b-7d3e-9c55-0f2a4f9f7a11"


@app.command(
    rich_help_panel=options.JOBS,
    epilog=options.examples(
        f"penstock cancel {ID}", "penstock jobs --state queued --all | cut -f1 | xargs penstock cancel"
    ),
)
def cancel(
    job_ids: options.JobIds,
    *,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Cancel jobs: waiting ones at once; running ones are asked, then interrupted, then killed."""
    with connected(url, key_file) as api:
        raise typer.Exit(_each(job_ids, lambda one: api.post(f"/jobs/{one}/cancel"), "Cancelling", as_json=json))


@app.command(rich_help_panel=options.JOBS, epilog=options.examples(f"penstock retry {ID}"))
def retry(
    job_ids: options.JobIds,
    *,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Send failed, cancelled, expired or retrying jobs to work again now, under their own ids."""
    with connected(url, key_file) as api:
        raise typer.Exit(_each(job_ids, lambda one: api.post(f"/jobs/{one}/retry"), "Retrying", as_json=json))


@app.command(
    rich_help_panel=options.DEAD_LETTERS,
    epilog=options.examples(
        f"penstock replay {ID}",
        f"""penstock replay {ID} --payload '{{"failures": 0}}'""",
        "penstock replay --all --task http.request --reason exhausted",
    ),
)
def replay(
    job_ids: Annotated[
        list[UUID] | None, typer.Argument(metavar="ID...", help="Ids of finished jobs", show_default=False)
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Replay every dead letter that the filters let by")] = False,
    task: options.TaskFilter = None,
    reason: options.ReasonFilter = None,
    payload: options.Payload = None,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Submit finished jobs again as new jobs, and take those that were dead letters off the list.

    Prints the ids of the new jobs.
    """
    if bool(job_ids) == everything:
        raise typer.BadParameter("give either ids or --all")
    if not everything and (task or reason):
        raise typer.BadParameter("--task and --reason narrow --all")
    body = {} if payload is None else {"payload": values.payload(payload, None, [])}
    with connected(url, key_file) as api:
        chosen = _all_dead_letters(api, task, reason) if everything else list(job_ids or [])
        code = _each(chosen, lambda one: api.submit(f"/jobs/{one}/replay", body)[0], "Replaying", as_json=json)
    raise typer.Exit(code)


def _all_dead_letters(api: Api, task: str | None, reason: str | None) -> list[UUID]:
    """Return the ids first: replays that fail again must not be replayed by the same command, nor old news twice."""
    found = api.pages("/dead-letters", "dead_letters", {"task": task, "reason": reason}, None, newest=True)
    return [UUID(one["id"]) for one in found]


@app.command(rich_help_panel=options.DEAD_LETTERS, epilog=options.examples(f"penstock discard {ID}"))
def discard(job_ids: options.JobIds, *, url: options.Url = None, key_file: options.KeyFile = None) -> None:
    """Take dead letters off the list; the jobs stay readable."""
    with connected(url, key_file) as api:

        def remove(one: UUID) -> Json:
            api.delete(f"/dead-letters/{one}")
            return {"id": str(one), "state": "discarded"}

        raise typer.Exit(_each(job_ids, remove, "Discarding", as_json=False))


def _each(ids: Sequence[UUID], act: Callable[[UUID], Json], doing: str, *, as_json: bool) -> int:
    """Act on each job; one that is refused does not hold up the others. Returns the exit code."""
    code = DONE
    with screen.progress() as bar:
        for one in bar.track(ids, description=doing):
            try:
                answer = act(one)
            except Refusal as refusal:
                if refusal.status == UNAUTHORIZED:
                    raise
                refusal.args = (f"{one}: {refusal}",)
                screen.complain(refusal)
                code = REFUSED
            else:
                screen.dump(answer) if as_json else screen.say_fields([answer["id"], answer["state"]])
    return code
