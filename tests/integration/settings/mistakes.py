"""What can be wrong with what a process is told, who says so, and in which words."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from jobs.startup import AWAY, MISCONFIGURED

ALL: Final = ("api", "worker", "schedules", "deploy.flower", "jobs.migrations")
API: Final = ("api",)
FLOWER: Final = ("deploy.flower",)
WORKER: Final = ("worker",)
STORE: Final = ("api", "worker", "schedules", "jobs.migrations")
TABLES: Final = ("api", "worker", "schedules")
BROKER: Final = ("api", "worker", "schedules", "deploy.flower")
BROKER_ALWAYS: Final = ("worker", "schedules", "deploy.flower")
"""Who cannot begin without the broker: the API accepts jobs without it."""
NOWHERE: Final = "no-such-host.invalid"


@dataclass(frozen=True)
class Mistake:
    """What is wrong in the environment; an empty text takes a variable away. `{name}` is one of the servers' facts."""

    roles: tuple[str, ...]
    """Who says so."""
    says: str
    code: int = MISCONFIGURED
    environment: dict[str, str] = field(default_factory=dict)
    of_each: bool = False
    """Whether it is tried on each of them, and not on one."""


def by_turns(mistakes: Mapping[str, Mistake]) -> dict[str, Mistake]:
    """Return the mistakes, each with those on whom it is tried."""
    turns = {name: turn for turn, name in enumerate(mistakes)}
    return {
        name: one if one.of_each else replace(one, roles=(one.roles[turns[name] % len(one.roles)],))
        for name, one in mistakes.items()
    }


DSN: Final = {
    "no database": Mistake(STORE, "PENSTOCK_DATABASE_URL is not set: ", environment={"DATABASE_URL": ""}, of_each=True),
    "another scheme": Mistake(
        STORE, r"DATABASE_URL: must start with postgresql://", environment={"DATABASE_URL": "mysql://u:hush@h/n"}
    ),
    "no port": Mistake(
        STORE, r"DATABASE_URL: has a port that is none", environment={"DATABASE_URL": "postgresql://u:hush@h:port/n"}
    ),
    "no broker": Mistake(
        BROKER, "PENSTOCK_BROKER_URL is not set: amqp://", environment={"BROKER_URL": ""}, of_each=True
    ),
    "another broker": Mistake(
        BROKER, r"BROKER_URL: must start with one of amqp://", environment={"BROKER_URL": "kafka://u:hush@h"}
    ),
    "no port of a broker": Mistake(
        BROKER, r"BROKER_URL: has a port that is none", environment={"BROKER_URL": "amqp://u:hush@h:port//"}
    ),
    "no number of a database": Mistake(
        BROKER, r"BROKER_URL: must end with the number", environment={"BROKER_URL": "redis://:hush@h/name"}
    ),
    "a known secret": Mistake(
        BROKER, r"BROKER_URL: holds 'guest', which", environment={"BROKER_URL": "amqp://guest:guest@h//"}
    ),
    "no replica": Mistake(
        API,
        "DATABASE_REPLICA_URL: must start with postgresql://",
        environment={"PENSTOCK_DATABASE_REPLICA_URL": "mysql://u:hush@h/n"},
    ),
    "no file": Mistake(
        STORE,
        r"DATABASE_URL_FILE names /no/file, which",
        environment={"DATABASE_URL": "", "DATABASE_URL_FILE": "/no/file"},
    ),
    "a typing error": Mistake(
        ALL,
        "did you mean PENSTOCK_WORKER_QUEUES\\?",
        environment={"PENSTOCK_WORKER_QUEUE": "default"},
        of_each=True,
    ),
    "an impossible value": Mistake(
        BROKER, "PENSTOCK_DOORBELL_WINDOW: .* greater than or equal to 1", environment={"PENSTOCK_DOORBELL_WINDOW": "0"}
    ),
    "no address of an API": Mistake(
        API, "PENSTOCK_API_HOST: 192.0.2.1 is no address", environment={"PENSTOCK_API_HOST": "192.0.2.1"}
    ),
    "no host of an API": Mistake(
        API, f"PENSTOCK_API_HOST: {NOWHERE} is no address", environment={"PENSTOCK_API_HOST": NOWHERE}
    ),
    "no address of Flower": Mistake(
        FLOWER, "FLOWER_ADDRESS: 192.0.2.1 is no address", environment={"FLOWER_ADDRESS": "192.0.2.1"}
    ),
    "no number for Flower": Mistake(
        FLOWER, "FLOWER_MAX_TASKS: is no int; correct it", environment={"FLOWER_MAX_TASKS": "abc"}
    ),
    "no wait": Mistake(
        STORE, "PENSTOCK_START_WAIT_SECONDS: Input should be", environment={"PENSTOCK_START_WAIT_SECONDS": "abc"}
    ),
    "no port of a mail server": Mistake(
        WORKER, "PENSTOCK_SMTP_PORT: Input should be", environment={"PENSTOCK_SMTP_PORT": "99999"}
    ),
    "no certificates of a mail server": Mistake(
        WORKER, "PENSTOCK_SMTP_CA_FILE: /nope cannot be read", environment={"PENSTOCK_SMTP_CA_FILE": "/nope"}
    ),
    "no certificates of web servers": Mistake(
        WORKER, "PENSTOCK_HTTP_CA_FILE: /nope cannot be read", environment={"PENSTOCK_HTTP_CA_FILE": "/nope"}
    ),
    "no certificates": Mistake(
        BROKER, "PENSTOCK_BROKER_CA_FILE: /no/ca cannot be read", environment={"PENSTOCK_BROKER_CA_FILE": "/no/ca"}
    ),
    "no module of tasks": Mistake(
        TABLES, "The task module no.such cannot be imported", environment={"PENSTOCK_TASK_MODULES": "no.such"}
    ),
    "no queue of a task": Mistake(
        ("api", "worker"),
        "names the queue 'critical', which PENSTOCK_QUEUES does not list",
        environment={"PENSTOCK_TASK_MODULES": "tests.integration.settings.critical", "PENSTOCK_QUEUES": "default"},
        of_each=True,
    ),
    "no collector over HTTP": Mistake(
        ("api", "worker"),
        "OTEL_EXPORTER_OTLP_ENDPOINT: must start with http://",
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
    ),
}

SERVERS: Final = {
    "no such host": Mistake(
        STORE,
        f"DATABASE_URL: PostgreSQL at {NOWHERE}: .*; is it up",
        AWAY,
        {"DATABASE_URL": f"postgresql://u:hush@{NOWHERE}/n"},
    ),
    "nobody there": Mistake(
        STORE,
        "DATABASE_URL: PostgreSQL at .*: Connection refused; is it up",
        AWAY,
        {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/n"},
        of_each=True,
    ),
    "another password": Mistake(
        STORE,
        "DATABASE_URL: .*password authentication failed.*; correct the user and the password",
        environment={"DATABASE_URL": "{other_password}"},
    ),
    "no such database": Mistake(
        STORE, 'DATABASE_URL: .*database "nothing" does not exist; create', environment={"DATABASE_URL": "{nothing}"}
    ),
    "another password of a replica": Mistake(
        API,
        "PENSTOCK_DATABASE_REPLICA_URL: .*password authentication failed.*; correct the user and the password",
        environment={"PENSTOCK_DATABASE_REPLICA_URL": "{other_password}"},
    ),
    "no schema": Mistake(
        TABLES, "at nothing, needs .*penstock migrate", AWAY, {"DATABASE_URL": "{empty}"}, of_each=True
    ),
    "a database of letters that are few": Mistake(
        STORE, "DATABASE_URL: .*the database is not in UTF-8; make", environment={"DATABASE_URL": "{latin}"}
    ),
    "a database of bytes": Mistake(
        STORE, "DATABASE_URL: .*the database is not in UTF-8; make", environment={"DATABASE_URL": "{bytes}"}
    ),
    "a database that cannot be written": Mistake(
        STORE,
        "DATABASE_URL: .*it is read-only, as a standby is; name the primary",
        AWAY,
        {"DATABASE_URL": "{read_only}"},
    ),
    "a user who may not write": Mistake(
        TABLES, "DATABASE_URL: .*this user may not write jobs; GRANT", environment={"DATABASE_URL": "{reader}"}
    ),
    "no such host of a broker": Mistake(
        BROKER_ALWAYS,
        f"BROKER_URL: RabbitMQ at {NOWHERE} does not answer",
        AWAY,
        {"BROKER_URL": f"amqp://u:hush@{NOWHERE}//"},
    ),
    "no broker there": Mistake(
        BROKER_ALWAYS,
        "BROKER_URL: Redis or Valkey at .* does not answer",
        AWAY,
        {"BROKER_URL": "redis://:hush@127.0.0.1:1/0"},
        of_each=True,
    ),
    "another password of a broker": Mistake(
        BROKER,
        "BROKER_URL: Redis or Valkey at .* refuses the login",
        environment={"BROKER_URL": "{other_valkey}"},
        of_each=True,
    ),
    "a broker that cannot be written": Mistake(
        BROKER_ALWAYS[:2],
        "BROKER_URL: .*is read-only, as a replica is; name the primary",
        AWAY,
        {"BROKER_URL": "{replica}"},
    ),
    "a user of a broker who may not write": Mistake(
        TABLES, "BROKER_URL: .*does not let this user make queues; give", environment={"BROKER_URL": "{onlooker}"}
    ),
    "no such number": Mistake(
        BROKER, "BROKER_URL: .*no such virtual host or database", environment={"BROKER_URL": "{far_database}"}
    ),
}

RABBIT: Final = {
    "another password": Mistake(
        BROKER, "BROKER_URL: RabbitMQ at .* refuses the login", environment={"BROKER_URL": "{other_rabbit}"}
    ),
    "TLS where there is none": Mistake(
        BROKER, "BROKER_URL: .*does not speak TLS", environment={"BROKER_URL": "{tls_rabbit}"}
    ),
    "a user who may make no queue": Mistake(
        TABLES, "BROKER_URL: .*does not let this user make queues; give", environment={"BROKER_URL": "{onlooker}"}
    ),
    "no such virtual host": Mistake(
        BROKER, "BROKER_URL: .*no such virtual host or database", environment={"BROKER_URL": "{no_vhost}"}
    ),
}
