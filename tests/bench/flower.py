"""A Flower that looks on, and has the workers send it an event for whatever becomes of a job."""

import base64
import secrets
import urllib.error
import urllib.request
from typing import Final

from tests.bench.penstock import Penstock
from tests.bench.processes import NeverHappenedError, wait_until

ASKED_SECONDS: Final = 60.0
"""Flower asks for the events every five."""
TOLD: Final = 'type="task-succeeded"'


class Onlooker:
    """Flower, running beside a stack until that is stopped."""

    def __init__(self, stack: Penstock) -> None:
        """Start it."""
        self._stack = stack
        self._port = stack.choose_port()
        self._password = secrets.token_urlsafe(16)
        place = {"FLOWER_PORT": str(self._port), "PENSTOCK_FLOWER_PASSWORD": self._password}
        stack.programs.start("flower", "deploy.flower", env=stack.env | place)

    def is_told(self) -> int:
        """Have one job after another run until Flower is told of them, and return how many those were."""
        submitted = 0

        def sees_one() -> bool:
            nonlocal submitted
            self._stack.submit(1)
            submitted += 1
            return TOLD in self._metrics()

        wait_until(sees_one, seconds=ASKED_SECONDS, what="Flower is told of jobs", every=0.5)
        return submitted

    def _metrics(self) -> str:
        login = base64.b64encode(f"penstock:{self._password}".encode()).decode()
        address = f"http://127.0.0.1:{self._port}/flower/metrics"
        request = urllib.request.Request(address, headers={"Authorization": f"Basic {login}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise NeverHappenedError(f"Flower answered {error.code}") from error
        except OSError:  # it is starting
            return ""
