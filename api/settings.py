"""What the API process must know."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from jobs.environment import Settings
from jobs.urls import of_postgresql


class ApiSettings(Settings):
    """Where the API listens, and what it takes in."""

    api_host: Annotated[str, Field(description="The address that the API listens on")] = "127.0.0.1"
    api_port: Annotated[int, Field(ge=0, le=65_535, description="The port that the API listens on")] = 8000
    api_drain_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=3600,
            description="How long a stopping API still listens while /ready says that it leaves; for whoever spreads "
            "requests to hear of it",
        ),
    ] = 0.0
    api_processes: Annotated[int, Field(ge=1, le=64, description="Processes that share the port")] = 1
    body_limit_bytes: Annotated[
        int, Field(ge=1024, le=16_777_216, description="The largest request body, batches excepted")
    ] = 262_144
    batch_limit_bytes: Annotated[int, Field(ge=1024, le=268_435_456, description="The largest body of a batch")] = (
        33_554_432
    )
    bodies_limit_bytes: Annotated[
        int, Field(ge=1024, description="Request bodies that one process holds at the same time, together")
    ] = 134_217_728
    batch_limit_jobs: Annotated[int, Field(ge=1, le=10_000, description="Jobs in one batch")] = 1000
    group_limit: Annotated[int, Field(ge=1, le=1000, description="Submissions that share a commit, at the most")] = 200
    waiting_limit: Annotated[
        int, Field(ge=1, le=100_000, description="Submissions that may wait for their commit before others get 503")
    ] = 2000
    longest_wait_seconds: Annotated[
        float,
        Field(gt=0, le=60, description="A submission that would wait longer for its commit gets 503 at once"),
    ] = 0.15
    backlog_limit: Annotated[
        int,
        Field(ge=1, description="Ready jobs that may wait in PostgreSQL without a doorbell before others get 503"),
    ] = 5_000_000
    connections_limit: Annotated[
        int, Field(ge=1, le=100_000, description="Connections of one process before others get 503 and are closed")
    ] = 4000
    receive_timeout_seconds: Annotated[
        float, Field(ge=1, le=3600, description="How long a request may take to arrive, its body included")
    ] = 30.0
    requests_per_minute: Annotated[
        int, Field(ge=0, le=1_000_000, description="Requests that a tenant may make to one process; 0: any number")
    ] = 0
    diagnostics: Annotated[
        bool, Field(description="Let whoever has an API key take a CPU profile at /diagnostics/profile")
    ] = False
    readers_limit: Annotated[
        int, Field(ge=1, le=100_000, description="Long polls and event streams of one process before others get 503")
    ] = 1000
    long_poll_limit_seconds: Annotated[
        float, Field(ge=1, le=300, description="The longest wait_seconds of a reader")
    ] = 60.0
    database_replica_url: Annotated[
        SecretStr | None,
        Field(description="A streaming replica of that PostgreSQL, as the same kind of URL, from which lists are read"),
    ] = None
    replica_lag_seconds: Annotated[
        float, Field(ge=1, le=3600, description="How old a list may be that is read from the replica")
    ] = 10.0

    @field_validator("database_replica_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        return value and of_postgresql(value)
