"""How schedules, their instants and what was decided about them look."""

from collections.abc import Iterable, Iterator
from typing import Final

from deploy.cli import screen
from deploy.cli.client import Json
from deploy.cli.views import at, dumped

COLUMNS: Final = ("name", "timing", "zone", "task", "state", "next_at", "source")
OCCURRENCE_COLUMNS: Final = ("instant", "decision", "reason", "job_id", "count", "through_at", "detail")
_JOB: Final = ("queue", "priority", "instant_as", "expires_after_seconds", "unique_key")


def timing(schedule: Json) -> str:
    """Return when it runs, in few words."""
    if schedule["cron"] is not None:
        return str(schedule["cron"])
    if schedule["every_seconds"] is not None:
        return f"every {schedule['every_seconds']:g} s"
    return f"at {schedule['at']}"


def _state(schedule: Json) -> str:
    if schedule["paused_at"]:
        return str(schedule["pause_reason"])
    return "running" if schedule["next_at"] else "over"


def show_written(schedule: Json, *, as_json: bool) -> None:
    """Show a schedule that was just written: to programs, its name."""
    if as_json:
        screen.dump(schedule)
    elif screen.for_people():
        screen.facts([("written", schedule["name"]), ("timing", timing(schedule)), ("state", _state(schedule))])
    else:
        screen.say(schedule["name"])


def show_schedules(schedules: Iterable[Json], *, as_json: bool) -> None:
    """Show schedules as a table, a line, or a JSON document each."""
    if dumped(schedules, as_json=as_json):
        return
    screen.table(COLUMNS, (_row(one) for one in schedules), empty="No schedules.")


def _row(schedule: Json) -> list[object]:
    own = {"timing": timing(schedule), "state": _state(schedule), "next_at": at(schedule["next_at"])}
    return [own.get(name, schedule.get(name)) for name in COLUMNS]


def show_schedule(schedule: Json, *, as_json: bool) -> None:
    """Show all that is known of one schedule."""
    if as_json:
        screen.dump(schedule)
    else:
        screen.facts(_facts(schedule))


def _facts(schedule: Json) -> Iterator[tuple[str, object]]:
    yield from zip(COLUMNS, _row(schedule), strict=True)
    yield "origin", schedule["origin"]
    yield "etag", schedule["etag"]
    for name in ("anchor_at", "start_at", "end_at", "paused_at"):
        yield name, at(schedule[name])
    yield "jitter", f"{schedule['jitter_seconds']:g} s" if schedule["jitter_seconds"] else None
    for name in _JOB:
        yield name, schedule[name]
    yield "tags", ", ".join(schedule["tags"])
    for name in ("retry", "time_limit"):
        yield name, screen.pretty(_said(schedule[name])) if schedule[name] else None
    catch_up = schedule["catch_up"]
    yield "catch_up", f"{catch_up['mode']}, {catch_up['window_seconds']:g} s back, {catch_up['limit']} at the most"
    missed_after = schedule["missed_after_seconds"]
    yield "missed_after", f"{missed_after:g} s" if missed_after else None
    yield "overlap", schedule["overlap"]
    yield "payload", screen.pretty(schedule["payload"])
    for name in ("gap", "fold", "interval", "clock", "zone_data"):
        yield name, schedule["clock_rules"][name]


def _said(facts: Json) -> Json:
    return {name: value for name, value in facts.items() if value is not None}


def show_preview(preview: Json, *, as_json: bool) -> None:
    """Show the instants that are to come."""
    if as_json:
        screen.dump(preview)
        return
    if preview["paused_at"]:
        screen.note(f"It is {preview['pause_reason']} since {at(preview['paused_at'])}: none of these runs meanwhile.")
    columns = ("at", "local", "runs_at", "mark")
    rows = ([_shown(one, name) for name in columns] for one in preview["instants"])
    screen.table(columns, rows, empty="None is to come.")


def _shown(instant: Json, name: str) -> object:
    return "skipped" if name == "runs_at" and instant[name] is None else instant[name]


def show_occurrences(occurrences: Iterable[Json], *, as_json: bool) -> None:
    """Show what was decided, as a table, a line, or a JSON document each."""
    if dumped(occurrences, as_json=as_json):
        return
    rows = ([_cell(one, name) for name in OCCURRENCE_COLUMNS] for one in occurrences)
    screen.table(OCCURRENCE_COLUMNS, rows, empty="Nothing was decided yet.")


def _cell(occurrence: Json, name: str) -> object:
    value = occurrence[name]
    if name in {"instant", "through_at"}:
        return at(value)
    return "many" if name == "count" and value is None else value


def show_triggered(occurrence: Json, *, as_json: bool) -> None:
    """Show what became of a trigger: to programs the job's id, where there is one."""
    if as_json:
        screen.dump(occurrence)
    elif occurrence["job_id"] and not screen.for_people():
        screen.say(occurrence["job_id"])
    else:
        screen.facts([(name, occurrence[name]) for name in ("decision", "reason", "detail", "job_id")])


def show_backfill(backfill: Json, *, as_json: bool) -> None:
    """Show the instants of a span and what came of them."""
    if as_json:
        screen.dump(backfill)
        return
    rows = (
        [one["at"], one["local"], _became(one), (one["occurrence"] or {}).get("job_id")] for one in backfill["instants"]
    )
    screen.table(("at", "local", "decision", "job_id"), rows, empty="There is no instant.")


def _became(one: Json) -> str:
    if one["occurrence"] is None:
        return "would be fired"
    return str(one["occurrence"]["decision"]) if one["is_new"] else "has a job"
