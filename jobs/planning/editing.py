"""Editing schedules while beats fire them: each edit holds the row's lock, and decides about what it leaves behind.

So a job comes either before an edit is acknowledged or by what the edit made of the schedule; never after a pause or
a delete was acknowledged.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select

from jobs.calendar.instants import next_instant
from jobs.calendar.refusal import InvalidTiming
from jobs.errors import NotFound, PreconditionFailed, ReadOnly
from jobs.model import DEFAULT_TENANT, JobId, new_job_id
from jobs.planning import history, store
from jobs.planning.decisions import next_look_at
from jobs.planning.kept import Keeps, also_of, not_due, sort_out
from jobs.planning.model import TIMING, Definition, Schedule
from jobs.planning.words import Overlap, Source, Why

REMEMBERED: Final = 1000
"""Occurrences, the newest, among whose jobs unfinished ones are looked for when `overlap` begins to matter."""

_DECLARING: Final = 0x50454E53
"""The advisory lock of those who declare what is in code."""

Make = Callable[[Schedule | None, datetime], Definition]
"""Makes the definition from the schedule as it is (None: there is none yet) and the instant of the edit."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a client knows of the schedule (RFC 9110, section 13.1); as a rule nothing."""

    tags: frozenset[str] | None = None
    """It must have one of these tags; `*` is any."""
    absent: bool = False
    """There must be none."""

    def check(self, found: Schedule | None) -> None:
        """Raise `PreconditionFailed` where the client knows something else."""
        if found is None and self.tags is not None:
            raise PreconditionFailed("There is no such schedule any more.")
        if found is not None and self.absent:
            raise PreconditionFailed("There is a schedule of this name.", tag=found.tag)
        if found is not None and self.tags is not None and not self.tags & {"*", found.tag}:
            raise PreconditionFailed(tag=found.tag)


ANYTHING: Final = Expected()


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """Who edits, on whose behalf, and where what is declared in code comes from."""

    tenant: str = DEFAULT_TENANT
    submitter: str | None = None
    source: Source = Source.API
    origin: str | None = None


ANYBODY: Final = Editor()


def put(
    connection: Connection,
    name: str,
    make: Make,
    editor: Editor,
    *,
    expected: Expected = ANYTHING,
    may_create: bool = True,
) -> tuple[Schedule, bool]:
    """Store what `make` makes and return the schedule, and whether it is new. The same again changes nothing.

    Raises `NotFound`, `PreconditionFailed`, `ReadOnly`, and what `make` and the calendar raise.
    """
    now = store.clock(connection)
    found = store.look_up(connection, name, tenant=editor.tenant, lock=True)
    if may_create and _is_gone(found):
        expected.check(None)
        definition = _anchored(make(None, now), None, now)
        made = _created(name, definition, editor, now, found)
        if found is not None:
            store.change(connection, made)
            return made, True
        if store.add(connection, made):
            return made, True
        found = store.look_up(connection, name, tenant=editor.tenant, lock=True)  # somebody was quicker
    if found is None or _is_gone(found):
        raise NotFound(f"There is no schedule {name}.")
    _must_be_editable(found, editor, expected)
    edited = _edited(connection, found, _anchored(make(found, now), found, now), editor, now)
    if edited is not found:
        store.change(connection, edited)
    return edited, False


def _is_gone(found: Schedule | None) -> bool:
    return found is None or found.deleted_at is not None


def _must_be_editable(found: Schedule, editor: Editor, expected: Expected) -> None:
    if found.source is not editor.source:
        where = f"declared in code, in {found.origin}," if found.source is Source.CODE else "kept by the API"
        raise ReadOnly(f"Schedule {found.name} is {where} and edited there.")
    expected.check(found)


def _created(name: str, definition: Definition, editor: Editor, now: datetime, former: Schedule | None) -> Schedule:
    """Return a new schedule. It takes the place of one of its name that was deleted, whose history stays with it."""
    made = Schedule(
        id=former.id if former else new_job_id(),
        tenant=editor.tenant,
        name=name,
        source=editor.source,
        origin=editor.origin,
        submitter=editor.submitter,
        definition=definition,
        paused_at=None,
        decided_until=max(now, former.decided_until) if former else now,
        next_at=None,
        open_jobs=(),
        version=former.version + 1 if former else 1,
        created_at=now,
        updated_at=now,
    )
    _must_be_to_come(definition, now)
    return replace(made, next_at=next_look_at(made))


def _anchored(definition: Definition, found: Schedule | None, now: datetime) -> Definition:
    """Return the definition with an anchor, where it needs one: what was given, else its start, else what it had."""
    if definition.every_seconds is None:
        return replace(definition, anchor_at=None)
    had = found.definition.anchor_at if found else None
    return replace(definition, anchor_at=definition.anchor_at or definition.start_at or had or _whole(now))


def _whole(at: datetime) -> datetime:
    return at.replace(microsecond=0)


_WITHOUT_INSTANT: Final = {
    "at": "lies in the past, outside start_at to end_at, or in a gap of the clock that on_gap skips",
    "end_at": "leaves no instant that is still to come",
    "cron": "has no instant that is still to come",
}


def _must_be_to_come(definition: Definition, after: datetime) -> None:
    """Raise `InvalidTiming` for a timing that has no instant after `after`."""
    if next_instant(definition.rule, after) is None:
        field = "at" if definition.once is not None else "end_at" if definition.end_at else "cron"
        raise InvalidTiming(field, _WITHOUT_INSTANT[field])


def _edited(connection: Connection, found: Schedule, definition: Definition, editor: Editor, now: datetime) -> Schedule:
    """Return the schedule with the new definition; the very same where nothing changes."""
    if is_same(found.definition, definition) and found.origin == editor.origin:
        return found
    edited = replace(
        _touched(found, editor, now),
        definition=definition,
        origin=editor.origin,
        open_jobs=_open_jobs(connection, found, definition.overlap),
    )
    if any(getattr(found.definition, name) != getattr(definition, name) for name in TIMING):
        return _timed_anew(connection, found, edited, now)
    return replace(edited, next_at=next_look_at(edited))


def _timed_anew(connection: Connection, found: Schedule, edited: Schedule, now: datetime) -> Schedule:
    """Return the schedule with its new timing in force from now on; what both timings have of before is kept."""
    rule = edited.definition.rule
    is_common, is_coming = also_of(rule), not_due(found, rule, now)
    if found.pause_reason is None:
        kept = _leave(connection, found, now, Why.EDITED, is_common)
    else:
        kept = _leave(connection, found, now, found.pause_reason, lambda at: is_common(at) and is_coming(at))
    since = max(now, found.decided_until)  # PostgreSQL's clock may have been set back
    if not kept:
        _must_be_to_come(edited.definition, since)
    moved = replace(edited, decided_until=since, kept=kept)
    return replace(moved, next_at=next_look_at(moved))


def _touched(found: Schedule, editor: Editor, now: datetime) -> Schedule:
    return replace(found, submitter=editor.submitter, version=found.version + 1, updated_at=now)


def is_same(one: Definition, other: Definition) -> bool:
    """Tell whether two definitions say the same, however their JSON is spelled."""
    plain = (replace(each, payload=_plain(each.payload), retry=_plain(each.retry)) for each in (one, other))
    return next(plain) == next(plain)


def _plain(document: str | None) -> str:
    return json.dumps(json.loads(document), sort_keys=True) if document else ""


def _leave(
    connection: Connection, schedule: Schedule, now: datetime, reason: Why, keeps: Keeps
) -> tuple[datetime, ...]:
    """Record that nothing came of the undecided instants up to `now`, but for those that are kept; return these."""
    try:
        kept, left = sort_out(schedule, now, keeps, reason)
    except InvalidTiming:  # a timing that this process cannot read has no instants to speak of
        return ()
    history.record(connection, [(schedule.id, one) for one in left], now)
    return tuple(kept)


def _open_jobs(connection: Connection, found: Schedule, overlap: Overlap) -> tuple[JobId, ...]:
    """Return the unfinished jobs of the schedule, where they begin to matter; what is kept already, where they did."""
    if overlap is Overlap.ALLOW:
        return ()
    if found.definition.overlap is not Overlap.ALLOW:
        return found.open_jobs
    return tuple(sorted(store.unfinished(connection, history.latest_jobs(connection, found.id, REMEMBERED))))


def remove(connection: Connection, name: str, editor: Editor = ANYBODY, *, expected: Expected = ANYTHING) -> None:
    """Delete the schedule: once this is committed no instant of it gets a job. Jobs that were made go on.

    Its history can be read until upkeep prunes it. What code has declared and declares no more can be deleted too.
    Raises `NotFound`, `PreconditionFailed`, `ReadOnly`.
    """
    now = store.clock(connection)
    found = store.find(connection, name, tenant=editor.tenant, lock=True)
    if found.pause_reason is Why.UNDECLARED:
        expected.check(found)
    else:
        _must_be_editable(found, editor, expected)
    _leave(connection, found, now, found.pause_reason or Why.DELETED, lambda _at: False)
    history.end_waiting(connection, found.id, now, Why.DELETED)
    ended = replace(_touched(found, editor, now), deleted_at=now, paused_at=None, next_at=None)
    store.change(connection, replace(ended, decided_until=max(now, found.decided_until), kept=(), open_jobs=()))


def pause(connection: Connection, name: str, editor: Editor = ANYBODY, *, expected: Expected = ANYTHING) -> Schedule:
    """Have no instant fired from now on, and return the schedule. Asking again changes nothing.

    Raises `NotFound`, `PreconditionFailed`, `ReadOnly`.
    """
    now = store.clock(connection)
    found = store.find(connection, name, tenant=editor.tenant, lock=True)
    _must_be_editable(found, editor, expected)
    if found.paused_at is not None:
        return found
    paused = replace(_touched(found, editor, now), paused_at=now)
    store.change(connection, paused)
    return paused


def resume(connection: Connection, name: str, editor: Editor = ANYBODY, *, expected: Expected = ANYTHING) -> Schedule:
    """Have what is due after this moment fired again; the instants of the pause are recorded as skipped.

    Raises `NotFound`, `PreconditionFailed`, `ReadOnly`.
    """
    now = store.clock(connection)
    found = store.find(connection, name, tenant=editor.tenant, lock=True)
    _must_be_editable(found, editor, expected)
    resumed = _resumed(connection, found, editor, now)
    if resumed is not found:
        store.change(connection, resumed)
    return resumed


def _resumed(connection: Connection, found: Schedule, editor: Editor, now: datetime) -> Schedule:
    if found.pause_reason is None:
        return found
    kept = _leave(connection, found, now, found.pause_reason, not_due(found, found.definition.rule, now))
    since = max(now, found.decided_until)  # PostgreSQL's clock may have been set back
    moved = replace(_touched(found, editor, now), paused_at=None, decided_until=since, kept=kept)
    return replace(moved, next_at=next_look_at(moved))


@dataclass(frozen=True, slots=True)
class Declared:
    """What became of the schedules that code declares."""

    written: tuple[str, ...]
    """New ones, and those that have changed."""
    undeclared: tuple[str, ...]
    """Code does not declare them any more: they fire no more until it does."""
    left_out: tuple[str, ...]
    """Their names are taken by schedules that were put over HTTP."""


def declare(
    connection: Connection, wanted: Mapping[str, tuple[Make, str]], *, tenant: str = DEFAULT_TENANT
) -> Declared:
    """Make the schedules of source `code` those of `wanted`: by name, what makes the definition, and its origin.

    What is not among them is kept, and fires no more until it is declared again: perhaps a module was missing. Of
    several that declare at once the last one has its way. Raises `InvalidTiming`.
    """
    connection.execute(select(func.pg_advisory_xact_lock(_DECLARING)))  # two that start at once do it one by one
    now = store.clock(connection)
    standing = {one.name: one for one in store.declared(connection, tenant=tenant)}
    gone = [name for name in sorted(standing.keys() - wanted.keys()) if standing[name].paused_at is None]
    for name in gone:
        store.change(connection, replace(_touched(standing[name], _of_code(standing[name]), now), paused_at=now))
    written, left_out = [], []
    for name, (make, origin) in sorted(wanted.items()):
        editor = Editor(tenant=tenant, source=Source.CODE, origin=origin)
        if name in standing and standing[name].paused_at is not None:
            store.change(connection, _resumed(connection, standing[name], editor, now))
        try:
            edited, _ = put(connection, name, make, editor)
        except ReadOnly:
            left_out.append(name)
            continue
        if name not in standing or edited.version != standing[name].version:
            written.append(name)
    return Declared(tuple(written), tuple(gone), tuple(left_out))


def _of_code(schedule: Schedule) -> Editor:
    return Editor(tenant=schedule.tenant, source=Source.CODE, origin=schedule.origin)
