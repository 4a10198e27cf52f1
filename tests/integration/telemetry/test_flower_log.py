"""What Flower writes is JSON like every other process's log."""

import json
from pathlib import Path

import httpx

from tests.services.flower import watching


def test_every_line_of_flower_is_json(broker_url: str, tmp_path: Path) -> None:
    with watching(tmp_path, broker_url, "a-long-password-of-tests", PENSTOCK_LOG_FORMAT="json") as flower:
        assert flower.client.get("/", auth=None).status_code == httpx.codes.UNAUTHORIZED

    lines = [json.loads(line) for line in flower.process.logs().splitlines()]
    assert lines
    assert {line["role"] for line in lines} == {"flower"}
