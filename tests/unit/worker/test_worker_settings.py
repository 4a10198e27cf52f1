"""How a worker is told to run."""

import pytest
from pydantic import ValidationError

from worker.settings import WorkerSettings


def test_queues_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_WORKER_QUEUES", "critical, bulk,")

    assert WorkerSettings().worker_queues == ("critical", "bulk")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PENSTOCK_WORKER_CONCURRENCY", "0"),
        ("PENSTOCK_LEASE_SECONDS", "0.5"),
        ("PENSTOCK_WORKER_POOL", "gevent"),
        ("PENSTOCK_RESULT_LIMIT_BYTES", "1"),
    ],
)
def test_an_impossible_setting_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError):
        WorkerSettings()


def test_two_processes_of_one_name_are_two_nodes() -> None:
    settings = WorkerSettings(node_name="w@here")

    name, _, host = settings.node().partition("@")
    assert name.startswith("w.")
    assert host == "here"
