"""The tables, as SQLAlchemy Core, with the CHECKs and partial indexes that hold the promises."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.schema import SchemaItem

from jobs.model import DEFAULT_PRIORITY, DEFAULT_TENANT, PRIORITIES, Level
from jobs.planning.words import CatchUp, Decision, Overlap, Source, Why
from jobs.state import FINAL, UNFINISHED, JobState, Outcome, Reason

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)


def _one_of(column: str, values: object) -> str:
    quoted = ", ".join(f"'{value}'" for value in sorted(str(v) for v in values))  # type: ignore[attr-defined]  # any iterable of StrEnum members
    return f"{column} IN ({quoted})"


def _instant(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


IS_FINAL = _one_of("state", FINAL)
IS_UNFINISHED = _one_of("state", UNFINISHED)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True, comment="UUIDv7: sorts by the time of submission"),
    Column("tenant", Text, nullable=False, server_default=DEFAULT_TENANT),
    Column("submitter", Text, comment="id of the API key that submitted the job"),
    Column("task", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default=str(DEFAULT_PRIORITY)),
    Column("state", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("unique_key", Text),
    _instant("created_at", nullable=False),
    _instant("run_at", nullable=False),
    _instant("expires_at"),
    _instant("rung_at"),
    _instant("started_at"),
    _instant("finished_at"),
    Column("attempt", Integer, nullable=False, server_default="0", comment="number of the latest attempt"),
    Column("error_count", Integer, nullable=False, server_default="0"),
    Column("crash_count", Integer, nullable=False, server_default="0"),
    Column("throttle_count", Integer, nullable=False, server_default="0"),
    Column("worker", Text),
    _instant("lease_expires_at"),
    _instant("cancel_requested_at"),
    Column("retry", JSONB),
    Column("time_limit_seconds", Double),
    Column("soft_time_limit_seconds", Double),
    Column("progress", JSONB),
    Column("result", JSONB),
    Column("error", JSONB),
    Column("reason", Text, comment="why it failed"),
    _instant("closed_at"),
    Column("replay_of", Uuid),
    Column("request_id", Text),
    Column("traceparent", Text),
    Column("event_count", Integer, nullable=False, server_default="1"),
    Column("version", Integer, nullable=False, server_default="1", comment="changes with every write"),
    CheckConstraint(_one_of("state", JobState), name="state_is_known"),
    CheckConstraint(f"({IS_FINAL}) = (finished_at IS NOT NULL)", name="finished_when_final"),
    CheckConstraint(
        "(state = 'running') = (lease_expires_at IS NOT NULL AND worker IS NOT NULL)",
        name="leased_when_running",
    ),
    CheckConstraint(
        f"(state = 'failed') = (reason IS NOT NULL) AND (reason IS NULL OR {_one_of('reason', Reason)})",
        name="reason_when_failed",
    ),
    CheckConstraint("closed_at IS NULL OR state = 'failed'", name="only_dead_letters_close"),
    CheckConstraint(f"priority BETWEEN {PRIORITIES[0]} AND {PRIORITIES[-1]}", name="priority_in_range"),
    CheckConstraint(
        "attempt >= 0 AND error_count >= 0 AND crash_count >= 0 AND throttle_count >= 0", name="counts_not_negative"
    ),
    CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload_is_object"),
    CheckConstraint("length(task) BETWEEN 1 AND 200 AND length(queue) BETWEEN 1 AND 100", name="names_bounded"),
)

#: The conditions of the partial indexes. A statement that is to use one says it in the same words: a bound value hides
#: the index from a generic plan.
UNRUNG: Final = text("state = 'queued' AND rung_at IS NULL")
RUNG: Final = text("state = 'queued' AND rung_at IS NOT NULL")
DUE: Final = text("state IN ('scheduled', 'retrying')")
LEASED: Final = text("state = 'running'")
EXPIRING: Final = text("expires_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying')")
OPEN_DEAD_LETTER: Final = text("state = 'failed' AND closed_at IS NULL")

# What upkeep rings: ready and not in the broker, the most urgent first.
Index(
    "jobs_unrung",
    jobs.c.queue,
    jobs.c.priority.desc(),
    jobs.c.run_at,
    jobs.c.id,
    postgresql_where=UNRUNG,
)
# What may have been stranded: rung, and not started since.
Index("jobs_rung", jobs.c.queue, jobs.c.rung_at, postgresql_where=RUNG)
Index("jobs_due", jobs.c.run_at, postgresql_where=DUE)
Index("jobs_leased", jobs.c.lease_expires_at, postgresql_where=LEASED)
Index(
    "jobs_expiring",
    jobs.c.expires_at,
    postgresql_where=EXPIRING,
)
Index(
    "jobs_unique_key",
    jobs.c.tenant,
    jobs.c.unique_key,
    unique=True,
    postgresql_where=text(f"unique_key IS NOT NULL AND {IS_UNFINISHED}"),
)
Index(
    "jobs_dead_letters",
    jobs.c.tenant,
    jobs.c.id,
    postgresql_where=OPEN_DEAD_LETTER,
)
# Lists, newest first. Few on purpose: each one is written at every change of state.
Index("jobs_by_state", jobs.c.tenant, jobs.c.state, jobs.c.id)
Index("jobs_by_task", jobs.c.tenant, jobs.c.task, jobs.c.id)
Index("jobs_by_tag", jobs.c.tags, postgresql_using="gin", postgresql_where=text("tags <> '{}'"))

# No foreign keys from here to jobs: the rows are only ever written by the statement that moves the job,
# the check costs more than the insert, and a month of history must be droppable as one partition (`jobs.partitions`).
_BY_MONTH: Final = "RANGE (job_id)"

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    _instant("started_at", nullable=False),
    _instant("finished_at"),
    Column("outcome", Text),
    Column("error", JSONB),
    CheckConstraint("number >= 1", name="numbered_from_one"),
    CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="outcome_when_finished"),
    CheckConstraint(f"outcome IS NULL OR {_one_of('outcome', Outcome)}", name="outcome_is_known"),
    postgresql_partition_by=_BY_MONTH,
)

events = Table(
    "events",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("seq", Integer, primary_key=True, comment="from 1, without gaps"),
    _instant("at", nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False, comment="the job's state after the event"),
    Column("attempt", Integer, nullable=False),
    Column("facts", JSONB),
    postgresql_partition_by=_BY_MONTH,
)

job_logs = Table(
    "job_logs",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("seq", BigInteger, primary_key=True, comment="grows, with gaps between attempts"),
    Column("attempt", Integer, nullable=False),
    _instant("at", nullable=False),
    Column("level", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("facts", JSONB),
    Column("bytes", Integer, nullable=False, comment="what it counts against the bound of its job"),
    CheckConstraint(_one_of("level", Level), name="level_is_known"),
    postgresql_partition_by=_BY_MONTH,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("receipts", JSONB, nullable=False),
    _instant("created_at", nullable=False),
    _instant("expires_at", nullable=False),
    CheckConstraint("length(key) BETWEEN 1 AND 255", name="key_bounded"),
)
Index("idempotency_keys_expiring", idempotency_keys.c.expires_at)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True, comment="the public part"),
    Column("name", Text, nullable=False),
    Column("tenant", Text, nullable=False, server_default=DEFAULT_TENANT),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    _instant("revoked_at"),
    CheckConstraint("octet_length(secret_sha256) = 32", name="secret_is_a_digest"),
)


def _census(name: str, *constraints: SchemaItem) -> Table:
    return Table(
        name,
        metadata,
        Column("task", Text, nullable=False),
        Column("queue", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("entered", BigInteger, nullable=False, comment="jobs that came into the state"),
        Column("gone", BigInteger, nullable=False, comment="jobs that left it"),
        Column("born", BigInteger, nullable=False, comment="jobs that were accepted in it"),
        Column(
            "unrung", BigInteger, nullable=False, comment="of those in it, the ready ones that no doorbell speaks of"
        ),
        *constraints,
    )


# How many jobs there are, and were. Triggers on jobs add marks, upkeep adds them up: no writer waits for another.
census = _census("census", PrimaryKeyConstraint("task", "queue", "state"))
census_marks = _census("census_marks")
for _table in (census, census_marks):
    _table.add_is_dependent_on(jobs)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    Column("slots", Integer, nullable=False),
    Column("running", Integer, nullable=False, server_default="0"),
    Column("release", Text, nullable=False),
    Column("tasks", ARRAY(Text), nullable=False, server_default="{}", comment="what it can run"),
    Column("rates", JSONB, nullable=False, server_default="{}", comment="jobs a second that it finishes, by queue"),
    _instant("started_at", nullable=False),
    _instant("seen_at", nullable=False),
    _instant("stopped_at"),
)

# A row for each queue of which nothing is started.
paused_queues = Table(
    "paused_queues",
    metadata,
    Column("queue", Text, primary_key=True),
    _instant("paused_at", nullable=False),
    Column("paused_by", Text, comment="id of the API key"),
    CheckConstraint("length(queue) BETWEEN 1 AND 100", name="name_bounded"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False, server_default=DEFAULT_TENANT),
    Column("name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("origin", Text, comment="where code declares it"),
    Column("submitter", Text, comment="id of the API key that wrote it last"),
    Column("cron", Text),
    Column("every_seconds", Double),
    _instant("anchor_at"),
    Column("once", Text, comment="a date-time; without an offset, of the zone"),
    Column("zone", Text, nullable=False),
    Column("on_gap", Text, nullable=False),
    Column("on_fold", Text, nullable=False),
    Column("jitter_seconds", Double, nullable=False),
    _instant("start_at"),
    _instant("end_at"),
    Column("task", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("instant_as", Text, comment="the argument that gets the instant"),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("expires_after_seconds", Double),
    Column("unique_key", Text),
    Column("tags", ARRAY(Text), nullable=False),
    Column("retry", JSONB),
    Column("time_limit_seconds", Double),
    Column("soft_time_limit_seconds", Double),
    Column("catch_up", Text, nullable=False),
    Column("catch_up_window_seconds", Double, nullable=False),
    Column("catch_up_limit", Integer, nullable=False),
    Column("overlap", Text, nullable=False),
    Column("missed_after_seconds", Double, comment="NULL: what beat's settings say"),
    _instant("paused_at"),
    Column("decided_until", DateTime(timezone=True), nullable=False, comment="instants up to here were decided"),
    Column("next_at", DateTime(timezone=True), comment="when the next instant is due, with its jitter"),
    Column(
        "kept",
        ARRAY(DateTime(timezone=True)),
        nullable=False,
        server_default="{}",
        comment="instants up to decided_until that an edit left to be decided",
    ),
    Column("zone_data", Text, nullable=False, comment="the release of the zone data by which next_at was found"),
    Column("open_jobs", ARRAY(Uuid), nullable=False, server_default="{}", comment="its jobs that may be unfinished"),
    Column("version", Integer, nullable=False, server_default="1", comment="changes with every edit"),
    _instant("created_at", nullable=False),
    _instant("updated_at", nullable=False),
    Column("deleted_at", DateTime(timezone=True), comment="kept for its history, until its name is used again"),
    CheckConstraint("num_nonnulls(cron, every_seconds, once) = 1", name="has_one_timing"),
    CheckConstraint("(every_seconds IS NULL) = (anchor_at IS NULL)", name="anchored_when_every"),
    CheckConstraint("every_seconds >= 1 AND jitter_seconds >= 0", name="seconds_in_range"),
    CheckConstraint("end_at >= start_at", name="ends_not_before_its_start"),
    CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload_is_object"),
    CheckConstraint(f"priority BETWEEN {PRIORITIES[0]} AND {PRIORITIES[-1]}", name="priority_in_range"),
    CheckConstraint(
        "length(name) BETWEEN 1 AND 100 AND length(task) BETWEEN 1 AND 200 AND length(queue) BETWEEN 1 AND 100",
        name="names_bounded",
    ),
    CheckConstraint(
        f"{_one_of('source', Source)} AND {_one_of('catch_up', CatchUp)} AND {_one_of('overlap', Overlap)}",
        name="words_are_known",
    ),
    CheckConstraint("catch_up_window_seconds > 0 AND catch_up_limit >= 1", name="catch_up_in_range"),
    CheckConstraint("missed_after_seconds >= 1", name="missed_after_in_range"),
    UniqueConstraint("tenant", "name"),
)
# What a beat fires: due and not paused, the latest first.
Index("schedules_due", schedules.c.next_at, postgresql_where=text("next_at IS NOT NULL AND paused_at IS NULL"))
Index("schedules_deleted", schedules.c.deleted_at, postgresql_where=text("deleted_at IS NOT NULL"))

# No foreign key: each is pruned by itself, a deleted schedule after its last occurrence.
occurrences = Table(
    "occurrences",
    metadata,
    Column("id", Uuid, primary_key=True, comment="UUIDv7: sorts by the time of the decision"),
    Column("schedule_id", Uuid, nullable=False),
    _instant("instant", nullable=False),
    Column("through_at", DateTime(timezone=True), comment="the last instant, where it is about several"),
    Column("count", Integer, comment="how many instants; NULL: more than were counted"),
    Column("decision", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text),
    Column("job_id", Uuid),
    _instant("decided_at", nullable=False),
    CheckConstraint(f"{_one_of('decision', Decision)} AND {_one_of('reason', Why)}", name="words_are_known"),
    CheckConstraint("(decision = 'fired') = (job_id IS NOT NULL)", name="job_when_fired"),
    CheckConstraint("through_at IS NULL OR decision = 'skipped' AND through_at > instant", name="several_when_skipped"),
)
# Exactly one job for each instant of a schedule, whoever fires it, and however often.
Index(
    "occurrences_once",
    occurrences.c.schedule_id,
    occurrences.c.instant,
    unique=True,
    postgresql_where=text("decision IN ('fired', 'waiting')"),
)
Index("occurrences_history", occurrences.c.schedule_id, occurrences.c.instant.desc(), occurrences.c.id.desc())
Index("occurrences_waiting", occurrences.c.schedule_id, postgresql_where=text("decision = 'waiting'"))
