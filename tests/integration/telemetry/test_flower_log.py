"""What Flower writes is JSON like every other process's log."""

import json
from pathlib import Path

import httpx

from deploy.stack.ports import free_port
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.stack import eventually


def test_every_line_of_flower_is_json(broker_url: str, tmp_path: Path) -> None:
    port = free_port()
    own = {"FLOWER_PORT": port, "PENSTOCK_FLOWER_PASSWORD": "a-long-password-of-tests", "PENSTOCK_LOG_FORMAT": "json"}
    environment = surroundings(BROKER_URL=broker_url, **own)
    flower = LocalProcess("flower", ["deploy.flower"], environment=environment, log=tmp_path / "log", prompt="")
    flower.start()
    try:
        eventually(lambda: _answers(port), 60, "it answers")
        assert httpx.get(f"http://127.0.0.1:{port}/flower/", trust_env=False).status_code == 401
    finally:
        flower.teardown()

    lines = [json.loads(line) for line in flower.logs().splitlines()]
    assert lines
    assert {line["role"] for line in lines} == {"flower"}


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/flower/healthcheck", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
