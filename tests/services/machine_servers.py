"""`python -m tests.services.machine_servers`: PostgreSQL and RabbitMQ of a machine, for the other machines.

They listen on every address that the machine has, at their usual ports, until SIGTERM. Their state is in the working
folder.
"""

import signal
import sys
from pathlib import Path
from typing import Final

from deploy.stack.postgres import PostgresServer
from deploy.stack.rabbitmq import RabbitServer

POSTGRES_PORT: Final = 5432
RABBIT_PORT: Final = 5672
INSIDE_PORT: Final = 5671
"""Where RabbitMQ is asked by itself whether it is ready."""
SERVING: Final = "serving"


class OpenPostgres(PostgresServer):
    """A PostgreSQL server that other machines reach."""

    listens_on = "*"

    def prepare(self) -> None:
        """Let others in, with the password."""
        super().prepare()
        (self.data / "pg_hba.conf").write_text("host all all all scram-sha-256\n")


class OpenRabbit(RabbitServer):
    """A RabbitMQ node that other machines reach, at another port than its own machine."""

    def _write_config(self) -> None:
        super()._write_config()
        with (self.data / "etc" / "rabbitmq.conf").open("a") as config:
            config.write(f"listeners.tcp.machines = 0.0.0.0:{RABBIT_PORT}\n")


def main() -> None:
    """Serve until somebody asks for the end."""
    home = Path.cwd()
    postgres = OpenPostgres(home / "postgres", POSTGRES_PORT, durable=False)
    rabbit = OpenRabbit(home / "rabbitmq", INSIDE_PORT, durable=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with postgres, rabbit:
        sys.stdout.write(f"{SERVING}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
