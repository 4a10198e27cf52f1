"""What a worker process must know."""

import os
import socket
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from jobs.environment import Settings
from tasks.settings import split_names


class WorkerSettings(Settings):
    """How one worker process runs jobs."""

    worker_concurrency: Annotated[int, Field(ge=1, le=1000, description="Jobs that run at the same time")] = 2
    worker_pool: Annotated[
        Literal["prefork", "threads"],
        Field(description="prefork: a process for each job; threads: for tasks that mostly wait, without hard limits"),
    ] = "prefork"
    worker_queues: Annotated[
        tuple[str, ...], NoDecode, Field(description="Queues that this worker serves; empty: all")
    ] = ()
    node_name: Annotated[str, Field(min_length=1, description="Names the worker for people")] = "worker"
    lease_seconds: Annotated[
        float, Field(ge=1, le=3600, description="How long an attempt is thought alive without a heartbeat")
    ] = 30.0
    drain_seconds: Annotated[
        float,
        Field(ge=0, le=86_400, description="How long a stopping worker lets its jobs run before it gives them back"),
    ] = 25.0
    cancel_grace_seconds: Annotated[
        float, Field(ge=0.1, le=3600, description="Between the steps of a cancel: asked, interrupted, killed")
    ] = 5.0
    deaf_seconds: Annotated[
        float,
        Field(
            ge=1,
            le=3600,
            description="A worker with a free slot that starts nothing for so long while a job waits connects anew",
        ),
    ] = 60.0
    result_limit_bytes: Annotated[
        int,
        Field(ge=100, le=16_777_216, description="A result that is larger as JSON is replaced by a note of its size"),
    ] = 262_144
    worker_metrics_host: Annotated[str, Field(description="Where the worker answers /metrics and /health")] = (
        "127.0.0.1"
    )
    worker_metrics_port: Annotated[int, Field(ge=0, le=65_535, description="0: no metrics server")] = 0

    @field_validator("worker_queues", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split_names(value)

    def node(self) -> str:
        """Return the full name of this process among all workers, as name.pid@host.

        With the pid a restarted worker never meets the queues that the broker still keeps for its
        predecessor: RabbitMQ would refuse them as locked.
        """
        name, _, host = self.node_name.partition("@")
        return f"{name}.{os.getpid()}@{host or socket.gethostname()}"
