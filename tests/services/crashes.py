"""PostgreSQL after a crash: its other processes may hold its memory for a moment after the first has been killed."""

from deploy.stack.errors import DidNotStart
from deploy.stack.postgres import PostgresServer
from tests.services.stack import eventually

BACK_SECONDS = 60.0


def crash(server: PostgresServer) -> None:
    """Kill the server and return when it serves again."""
    server.kill()
    bring_back(server)


def bring_back(server: PostgresServer) -> None:
    """Start a server that was killed and return when it serves."""

    def starts() -> bool:
        try:
            server.start()
        except DidNotStart:
            return False
        return True

    eventually(starts, BACK_SECONDS, "PostgreSQL is back")
