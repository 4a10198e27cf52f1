"""Penstock's own processes: what each is called, started by, and told through its environment."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.stack.child import Child
from deploy.stack.home import ROOT, Home
from deploy.stack.options import BROKER_VARIABLES, DATABASE_VARIABLES
from deploy.stack.ports import LOOPBACK, free_port, is_free
from jobs.environment import FILE_SUFFIX


@dataclass
class Role:
    """One process of the stack. `ports` maps an environment variable to the port that it carries."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def choose_ports(self) -> None:
        """Step around the ports that someone has taken since they were chosen."""
        for variable, port in self.ports.items():
            if port == 0 or not is_free(port):
                self.ports[variable] = free_port(port or None)

    def child(self, home: Home, surroundings: Mapping[str, str]) -> Child:
        """Describe the process with its present ports."""
        ports = {variable: str(port) for variable, port in self.ports.items()}
        return Child(
            self.name,
            [sys.executable, *self.arguments],
            environment={**surroundings, **self.environment, **ports},
            log=home.log(self.name),
            directory=ROOT,
        )


def penstock_roles(*, workers: int, flower_password: Path, broker_api: str | None) -> list[Role]:
    """Return the API, `workers` workers, the beat and Flower, in the order in which they start."""
    asked = int(os.environ.get("PENSTOCK_API_PORT") or 8000)
    api = Role("api", ["-m", "api"], {"PENSTOCK_API_HOST": LOOPBACK}, {"PENSTOCK_API_PORT": asked})
    crew = [
        Role(
            f"worker-{number}",
            ["-m", "worker"],
            {"PENSTOCK_NODE_NAME": f"worker-{number}@local"},
            {"PENSTOCK_WORKER_METRICS_PORT": 0},
        )
        for number in range(1, workers + 1)
    ]
    beat = Role("beat", ["-m", "schedules"], {}, {"PENSTOCK_BEAT_METRICS_PORT": 0})
    flower = Role(
        "flower",
        ["-m", "deploy.flower"],
        {
            "FLOWER_ADDRESS": LOOPBACK,
            "PENSTOCK_FLOWER_PASSWORD": "",
            "PENSTOCK_FLOWER_PASSWORD_FILE": str(flower_password),
            "FLOWER_BASIC_AUTH": "",  # the stack tells everyone its own login
            "FLOWER_AUTH": "",
            **({"FLOWER_BROKER_API": broker_api, "FLOWER_BROKER_API_FILE": ""} if broker_api else {}),
        },
        {"FLOWER_PORT": 5555},
    )
    return [api, *crew, beat, flower]


def surroundings(database_url: str, broker_url: str) -> dict[str, str]:
    """Return the environment that all roles share: ours, and where the database and the broker are."""
    ours = dict(os.environ)
    for name in (*DATABASE_VARIABLES, *BROKER_VARIABLES):
        ours.pop(name, None)
        ours.pop(name + FILE_SUFFIX, None)
    ours |= {"DATABASE_URL": database_url, "BROKER_URL": broker_url, "PYTHONUNBUFFERED": "1"}
    ours.setdefault("PENSTOCK_LOG_FORMAT", "json")
    ours.setdefault("PENSTOCK_DRAIN_SECONDS", "1")  # a person waits at the terminal; what is not done is given back
    return ours
