"""How jobs, attempts, events and tasks look."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from deploy.cli import screen
from deploy.cli.client import Json

JOB_COLUMNS: Final = ("id", "task", "state", "queue", "priority", "attempt", "created_at", "finished_at", "tags")
LETTER_COLUMNS: Final = ("id", "task", "reason", "error", "attempt", "finished_at")
ATTEMPT_COLUMNS: Final = ("number", "outcome", "worker", "started_at", "seconds", "error")
EVENT_COLUMNS: Final = ("seq", "at", "name", "state", "attempt", "facts")
LOG_COLUMNS: Final = ("at", "attempt", "level", "event", "facts")


def at(value: str | None) -> str:
    """Return an instant: this machine's time on a terminal, as the API wrote it elsewhere."""
    if not value or not screen.for_people():
        return value or ""
    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def show_accepted(accepted: Json, *, as_json: bool) -> None:
    """Show a job that was just accepted: to programs, its id."""
    if as_json:
        screen.dump(accepted)
    elif screen.for_people():
        screen.facts([("accepted", accepted["id"]), *_present(accepted, "task", "queue", "priority", "state")])
        screen.note(f"Look at it with: penstock job {accepted['id']} --wait 30")
    else:
        screen.say(accepted["id"])


def show_ids(ids: list[str], *, as_json: bool) -> None:
    """Show the ids of a batch to programs; a person is told how many there are."""
    for one in ids:
        if as_json:
            screen.dump({"id": one})
        elif not screen.for_people():
            screen.say(one)


def show_states(states: Mapping[str, int], *, as_json: bool) -> None:
    """Show how many jobs are in which state."""
    if as_json:
        screen.dump(states)
    else:
        screen.facts(sorted(states.items()))


def show_job(job: Json, *, as_json: bool) -> None:
    """Show all that is known of one job."""
    if as_json:
        screen.dump(job)
        return
    screen.facts(_job_facts(job))


def _job_facts(job: Json) -> Iterator[tuple[str, object]]:
    yield from _present(job, "id", "task", "state", "reason", "queue", "priority", "attempt")
    yield from _present(job, "error_count", "crash_count", "unique_key", "worker", "replay_of")
    yield "tags", ", ".join(job["tags"])
    for name in ("created_at", "run_at", "expires_at", "started_at", "finished_at", "cancel_requested_at"):
        yield name, at(job[name])
    yield from job["timings"].items()
    for name in ("retry", "progress"):
        yield name, screen.pretty(_without_none(job[name])) if job[name] else None
    yield "payload", screen.pretty(job["payload"])
    if job["state"] == "succeeded":
        yield "result", screen.pretty(job["result"])
    yield from _error_facts(job["error"])


def _error_facts(error: Json | None) -> Iterator[tuple[str, object]]:
    if error:
        yield "error", _error(error)
        yield "trace", error.get("trace")


def _error(error: Json | None) -> str:
    return f"{error['type']}: {error['message']}" if error else ""


def _present(job: Json, *names: str) -> Iterator[tuple[str, object]]:
    """Yield what says something: a count of nothing does not."""
    for name in names:
        if not (name.endswith("_count") and not job[name]):
            yield name, job[name]


def _without_none(facts: Json) -> Json:
    return {name: value for name, value in facts.items() if value is not None}


def show_jobs(jobs: Iterable[Json], *, as_json: bool) -> None:
    """Show jobs as a table, a line, or a JSON document each."""
    if not dumped(jobs, as_json=as_json):
        screen.table(JOB_COLUMNS, (_job_row(job) for job in jobs), empty="No jobs.")


def _job_row(job: Json) -> list[object]:
    special = {
        "tags": ", ".join(job["tags"]),
        "created_at": at(job["created_at"]),
        "finished_at": at(job["finished_at"]),
    }
    return [special.get(name, job.get(name)) for name in JOB_COLUMNS]


def show_dead_letters(letters: Iterable[Json], *, as_json: bool) -> None:
    """Show dead letters as a table, a line, or a JSON document each."""
    if not dumped(letters, as_json=as_json):
        screen.table(LETTER_COLUMNS, (_letter_row(one) for one in letters), empty="No dead letters.")


def _letter_row(letter: Json) -> list[object]:
    special = {"error": _error(letter["error"]), "finished_at": at(letter["finished_at"])}
    return [special.get(name, letter.get(name)) for name in LETTER_COLUMNS]


def show_attempts(attempts: Iterable[Json]) -> None:
    """Show the attempts of a job."""
    rows = ([_attempt_cell(one, name) for name in ATTEMPT_COLUMNS] for one in attempts)
    screen.table(ATTEMPT_COLUMNS, rows, title="Attempts", empty="No attempt yet.")


def _attempt_cell(attempt: Json, name: str) -> object:
    match name:
        case "outcome":
            return attempt["outcome"] or "running"
        case "started_at":
            return at(attempt["started_at"])
        case "seconds":
            return _seconds(attempt["started_at"], attempt["finished_at"])
        case "error":
            return _error(attempt["error"])
        case _:
            return attempt[name]


def _seconds(first: str, last: str | None) -> str:
    if last is None:
        return ""
    return f"{(datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds():.3f}"


def show_events(events: Iterable[Json]) -> None:
    """Show what happened to a job."""
    rows = (
        [one["seq"], at(one["at"]), one["name"], one["state"], one["attempt"], _short(one["facts"])] for one in events
    )
    screen.table(EVENT_COLUMNS, rows, title="Events")


def show_logs(lines: Iterable[Json]) -> None:
    """Show what the task of a job logged."""
    rows = ([at(one["at"]), one["attempt"], one["level"], one["event"], _short(one["facts"])] for one in lines)
    screen.table(LOG_COLUMNS, rows, title="Log", empty="Nothing was logged.")


def _short(facts: Json | None) -> str:
    return ", ".join(f"{name}={value}" for name, value in (facts or {}).items())


def dumped(items: Iterable[Any], *, as_json: bool) -> bool:
    """Print the items as JSON if that is wanted, and say whether it was."""
    if as_json:
        for item in items:
            screen.dump(item)
    return as_json
