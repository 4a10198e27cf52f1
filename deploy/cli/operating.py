"""`penstock explain`, `queues`, `workers`, `pause` and `resume`: what goes on, and why a job does not."""

from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from deploy.cli import options, screen
from deploy.cli.client import Json, connected
from deploy.cli.views import at, dumped

app = typer.Typer()

OPERATORS: Final = "Queues and workers"
ID: Final = "019a5f0e-7c1b-7d3e-9c55-0f2a4f9f7a11"
QUEUE_COLUMNS: Final = (
    "name", "is_paused", "waiting", "running", "scheduled", "retrying", "oldest_waiting_at", "in_per_second",
    "out_per_second", "workers", "slots", "slots_busy",
)  # fmt: skip
WORKER_COLUMNS: Final = (
    "name", "is_alive", "host", "pid", "release", "queues", "slots", "slots_busy", "started_at", "seen_at",
)  # fmt: skip
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="Its name, as `penstock queues` shows it")]


@app.command(rich_help_panel=options.JOBS, epilog=options.examples(f"penstock explain {ID}"))
def explain(
    job_id: options.JobId,
    *,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Say why a job is not running: what holds it, since when, and what to do.

    What must be cured first is told first.
    """
    with connected(url, key_file) as api:
        found = api.get(f"/jobs/{job_id}/explain")
    if json:
        screen.dump(found)
        return
    screen.facts([("id", found["job_id"]), ("state", found["state"]), *_finding(found)])
    for other in found["also"]:
        screen.facts([("also", other["sentence"]), *_finding(other)[:1], ("since", at(other["since"]))])


def _finding(found: Json) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = [("cause", found["cause"]), ("why", found["sentence"])]
    lines += [(name, at(found[name])) for name in ("since", "until") if found[name]]
    return lines + [(name, _fact(name, value)) for name, value in found["facts"].items() if value is not None]


def _fact(name: str, value: object) -> object:
    if name.endswith("_at") and isinstance(value, str):
        return at(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else value


@app.command(rich_help_panel=OPERATORS, epilog=options.examples("penstock queues", "penstock queues --json"))
def queues(*, json: options.AsJson = False, url: options.Url = None, key_file: options.KeyFile = None) -> None:
    """Look at the queues: what waits, how fast it moves, who works on it, and whether it is paused."""
    with connected(url, key_file) as api:
        _show(api.get("/queues")["queues"], QUEUE_COLUMNS, as_json=json)


@app.command(rich_help_panel=OPERATORS, epilog=options.examples("penstock workers", "penstock workers --all --json"))
def workers(
    *,
    everybody: Annotated[
        bool, typer.Option("--all", help="Also those that were not seen for an hour; a week, 1,000 at most")
    ] = False,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Look at the workers of the last hour, those seen last first. With --json also at their tasks and running jobs."""
    with connected(url, key_file) as api:
        found = api.get("/workers", params={"all": everybody})["workers"]
        _show(found, WORKER_COLUMNS, as_json=json)


@app.command(rich_help_panel=OPERATORS, epilog=options.examples("penstock pause default"))
def pause(
    queue: QueueName,
    *,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Start no job of a queue from now on. It goes on taking jobs in, and what runs goes on."""
    with connected(url, key_file) as api:
        _show([api.post(f"/queues/{quote(queue, safe='')}/pause")], QUEUE_COLUMNS, as_json=json)


@app.command(rich_help_panel=OPERATORS, epilog=options.examples("penstock resume default"))
def resume(
    queue: QueueName,
    *,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Have a paused queue go on; the most urgent of its jobs start first."""
    with connected(url, key_file) as api:
        _show([api.post(f"/queues/{quote(queue, safe='')}/resume")], QUEUE_COLUMNS, as_json=json)


def _show(found: list[Json], columns: tuple[str, ...], *, as_json: bool) -> None:
    if not dumped(found, as_json=as_json):
        screen.table(columns, ([_cell(one, name) for name in columns] for one in found))


def _cell(one: Json, name: str) -> Any:
    value = one[name]
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _fact(name, value)
