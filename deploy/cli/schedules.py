"""`penstock schedules`: writing schedules, looking at them, and asking them for more than their timing says."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final
from urllib.parse import quote

import typer

from deploy.cli import options, schedule_views, screen, values, views
from deploy.cli.client import Json, connected
from deploy.cli.errors import DONE, NOT_SUCCEEDED, REFUSED, Refusal
from deploy.cli.grouping import grouped
from deploy.cli.job_options import Arguments, Priority, Queue, Task, Terms
from deploy.cli.looking import All, Limit
from deploy.cli.schedule_options import (
    ExpiresAfter,
    From,
    IfMatch,
    InstantAs,
    Missed,
    Name,
    Names,
    New,
    OnOverlap,
    Timing,
    To,
)
from deploy.cli.steering import UNAUTHORIZED
from deploy.cli.waiting import exit_code, wait_for
from jobs.planning.words import Decision, Source

app = typer.Typer()
commands = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(
    commands, name="schedules", help="Write, see and steer what makes jobs by the clock.", rich_help_panel=options.JOBS
)

NOTHING: Final[Json] = {}
QUOTE: Final = '"'
SOON: Final = 3
"""Instants that are shown of a schedule that was just written."""


def _condition(if_match: str | None, names: Sequence[str] = ()) -> dict[str, str]:
    """Return the headers that ask for it. Raises `typer.BadParameter` for several schedules."""
    if if_match is None:
        return {}
    if len(names) > 1:
        raise typer.BadParameter("--if-match goes with one name", param_hint="--if-match")
    return {"If-Match": if_match if if_match == "*" else f'"{if_match.strip(QUOTE)}"'}


@commands.command(
    "put",
    epilog=options.examples(
        'penstock schedules put nightly demo.echo --cron "30 2 * * *" --zone Europe/Berlin -p message="good night"',
        "penstock schedules put pulse demo.noop --every 30s --overlap skip",
        "penstock schedules put launch demo.noop --at 2030-01-31T09:00 --zone America/New_York",
        "penstock schedules put books demo.noop --cron '0 6 L * *' --catch-up all --catch-up-window 31d --queue bulk",
    ),
)
@grouped
def put(
    name: Name,
    task: Task,
    *,
    timing: Timing,
    arguments: Arguments,
    instant_as: InstantAs = None,
    queue: Queue = None,
    priority: Priority = None,
    expires_after: ExpiresAfter = None,
    terms: Terms,
    missed: Missed,
    overlap: OnOverlap = None,
    new: New = False,
    if_match: IfMatch = None,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Make a schedule, or make it what the options say.

    The same again changes nothing. What is not given is the default, not what
    it was before. A pause stays as it is.
    """
    body = {"task": task, "payload": arguments.together(), **timing.body(), **terms.body(), **missed.body()}
    body |= values.given(queue=queue, priority=priority, expires_after_seconds=expires_after)
    body |= values.given(instant_as=instant_as, overlap=overlap)
    condition = _condition(if_match) | ({"If-None-Match": "*"} if new else {})
    once: Json = {"headers": condition, "patience": 0.0} if condition else {}
    with connected(url, key_file) as api:
        schedule = api.put(_path(name), body, task=task, **once)
        schedule_views.show_written(schedule, as_json=json)
        if screen.for_people() and not json:
            schedule_views.show_preview(api.get(_path(name, "preview"), params={"count": SOON}), as_json=False)


def _path(name: str, *parts: str) -> str:
    return "/".join(["/schedules", quote(name, safe=""), *parts])


@commands.command(
    "list",
    epilog=options.examples("penstock schedules list", "penstock schedules list --paused --json | jq -r .name"),
)
def list_schedules(
    *,
    task: options.TaskFilter = None,
    source: Annotated[Source | None, typer.Option(help="Only those edited there")] = None,
    paused: Annotated[bool | None, typer.Option("--paused/--running", help="Only those that are, or are not")] = None,
    limit: Limit = 50,
    everything: All = False,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """List schedules by name.

    Elsewhere than on a terminal each is a line with tabs between the fields:
    name, timing, zone, task, state, next_at, source.
    """
    wanted = values.given(task=task, source=source, paused=paused)
    with connected(url, key_file) as api:
        found = api.pages("/schedules", "schedules", wanted, None if everything else limit)
        schedule_views.show_schedules(found, as_json=json)


@commands.command("show", epilog=options.examples("penstock schedules show nightly"))
def show(
    name: Name, *, json: options.AsJson = False, url: options.Url = None, key_file: options.KeyFile = None
) -> None:
    """Look at a schedule: its timing, its job's options, and the clock rules in force."""
    with connected(url, key_file) as api:
        schedule_views.show_schedule(api.get(_path(name)), as_json=json)


@commands.command(
    "preview",
    epilog=options.examples(
        "penstock schedules preview nightly", "penstock schedules preview nightly --count 3 --after 2027-03-27T12:00Z"
    ),
)
def preview(
    name: Name,
    *,
    count: Annotated[int, typer.Option(min=1, max=200, metavar="N", help="So many instants")] = 20,
    after: Annotated[
        str | None, typer.Option(metavar="TIME", parser=values.instant, help="After this instant. Default: now")
    ] = None,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Show the next instants in UTC and by the zone's clock, with gaps and folds marked."""
    with connected(url, key_file) as api:
        found = api.get(_path(name, "preview"), params=values.given(count=count, after=after))
    schedule_views.show_preview(found, as_json=json)


@commands.command(
    "history",
    epilog=options.examples(
        "penstock schedules history nightly",
        "penstock schedules history nightly --decision skipped --from 2026-06-01T00:00Z --to 2026-06-02T00:00Z",
    ),
)
def history(
    name: Name,
    *,
    decision: Annotated[Decision | None, typer.Option(help="Only those that were decided so")] = None,
    first: From = None,
    last: To = None,
    limit: Limit = 50,
    everything: All = False,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Show what was decided about its instants, why, and the job of each; the latest instants first.

    Elsewhere than on a terminal each is a line with tabs between the fields:
    instant, decision, reason, job_id, count, through_at, detail.
    """
    wanted = values.given(decision=decision) | {key: one for key, one in (("from", first), ("to", last)) if one}
    with connected(url, key_file) as api:
        found = api.pages(_path(name, "occurrences"), "occurrences", wanted, None if everything else limit)
        schedule_views.show_occurrences(found, as_json=json)


@commands.command("pause", epilog=options.examples("penstock schedules pause nightly"))
def pause(names: Names, *, if_match: IfMatch = None, url: options.Url = None, key_file: options.KeyFile = None) -> None:
    """Fire nothing from now on; what a pause passes over is not made up for."""
    headers = _condition(if_match, names)
    with connected(url, key_file) as api:
        raise typer.Exit(_each(names, lambda name: api.post(_path(name, "pause"), headers=headers), "paused"))


@commands.command("resume", epilog=options.examples("penstock schedules resume nightly"))
def resume(
    names: Names, *, if_match: IfMatch = None, url: options.Url = None, key_file: options.KeyFile = None
) -> None:
    """Fire what comes from now on."""
    headers = _condition(if_match, names)
    with connected(url, key_file) as api:
        raise typer.Exit(_each(names, lambda name: api.post(_path(name, "resume"), headers=headers), "resumed"))


@commands.command("delete", epilog=options.examples("penstock schedules delete nightly"))
def delete(
    names: Names, *, if_match: IfMatch = None, url: options.Url = None, key_file: options.KeyFile = None
) -> None:
    """Delete schedules; jobs that were made go on, and what was decided can be read for a while."""
    headers = _condition(if_match, names)
    with connected(url, key_file) as api:
        raise typer.Exit(_each(names, lambda name: api.delete(_path(name), headers=headers), "deleted"))


def _each(names: Sequence[str], act: Callable[[str], object], done: str) -> int:
    """Act on each schedule; one that is refused does not hold up the others. Returns the exit code."""
    code = DONE
    for name in names:
        try:
            act(name)
        except Refusal as refusal:
            if refusal.status == UNAUTHORIZED:
                raise
            refusal.args = (f"{name}: {refusal}",)
            screen.complain(refusal)
            code = REFUSED
        else:
            screen.say_fields([name, done])
    return code


@commands.command(
    "trigger",
    epilog=options.examples("penstock schedules trigger nightly", "penstock schedules trigger nightly --wait 60"),
)
def trigger(
    name: Name,
    *,
    wait: options.Wait = None,
    if_match: IfMatch = None,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Have a job made now, once, also while the schedule is paused. Prints the job's id.

    `overlap` is heeded: what is skipped ends with 1. With --wait the exit code
    tells how the job ended: 0 succeeded, 1 failed, cancelled or expired, 3 not yet.
    """
    with connected(url, key_file) as api:
        occurrence, _ = api.submit(_path(name, "trigger"), NOTHING, headers=_condition(if_match))
        if wait and occurrence["job_id"]:
            job = wait_for(api, occurrence["job_id"], wait)
            views.show_job(job, as_json=json)
            raise typer.Exit(exit_code([job["state"]]))
    schedule_views.show_triggered(occurrence, as_json=json)
    raise typer.Exit(NOT_SUCCEEDED if occurrence["decision"] == Decision.SKIPPED else DONE)


@commands.command(
    "backfill",
    epilog=options.examples(
        "penstock schedules backfill nightly --from 2026-05-01T00:00Z --to 2026-05-31T23:59Z --dry-run",
        "penstock schedules backfill nightly --from 2026-05-01T00:00Z --to 2026-05-31T23:59Z",
    ),
)
def backfill(
    name: Name,
    *,
    first: Annotated[
        str, typer.Option("--from", metavar="TIME", parser=values.instant, help="The first instant", show_default=False)
    ],
    last: Annotated[
        str, typer.Option("--to", metavar="TIME", parser=values.instant, help="The last instant", show_default=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done")] = False,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Have jobs made for the instants of the past that have none, up to 1,000; none twice, however often it is run.

    Elsewhere than on a terminal each instant is a line with tabs between the
    fields: at, local, decision, job_id.
    """
    with connected(url, key_file) as api:
        found = api.post(_path(name, "backfill"), {"from": first, "to": last, "dry_run": dry_run})
    schedule_views.show_backfill(found, as_json=json)
