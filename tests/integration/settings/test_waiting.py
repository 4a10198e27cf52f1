"""A process that starts before the schema is there begins when it is, and with one host of several brokers."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.stack.ports import free_port
from jobs.errors import Unavailable
from tasks.settings import TaskSettings
from tasks.startup import look_at_broker
from tests.services.databases import migrate
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.processes import PROMPTS
from tests.services.stack import eventually


def test_a_beat_that_starts_before_the_migration_waits_for_it(empty_url: str, broker_url: str, tmp_path: Path) -> None:
    told = {"DATABASE_URL": empty_url, "BROKER_URL": broker_url, "PENSTOCK_START_WAIT_SECONDS": 120}
    environment = surroundings(**told, PENSTOCK_LOG_FORMAT="json")
    log, prompt = tmp_path / "beat.log", PROMPTS["schedules"]
    beat = LocalProcess("schedules", ["schedules"], environment=environment, log=log, prompt=prompt)
    beat.start()
    try:
        eventually(lambda: '"event":"start_waits"' in beat.logs(), 30, "it says what it waits for")
        assert prompt not in beat.logs()
        migrate(empty_url)

        beat.ready()
    finally:
        beat.teardown()


@pytest.mark.parametrize("broker_url", ["valkey", "rabbitmq"], indirect=True)
@pytest.mark.parametrize("module", ["worker", "schedules"])
def test_one_host_of_several_is_enough_to_begin(
    module: str, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    scheme = broker_url.partition("://")[0]
    several = f"{scheme}://127.0.0.1:{free_port()};{broker_url}"
    environment = surroundings(DATABASE_URL=database_url, BROKER_URL=several, PENSTOCK_LOG_FORMAT="json")
    log, prompt = tmp_path / "begun.log", PROMPTS[module]
    begun = LocalProcess(module, [module], environment=environment, log=log, prompt=prompt)
    begun.start()
    try:
        begun.ready()
    finally:
        begun.teardown()


def test_of_several_hosts_of_which_none_is_there_the_line_names_one() -> None:
    ports = free_port(), free_port()
    url = SecretStr(";".join(f"redis://:hush@127.0.0.1:{port}/0" for port in ports))
    look = look_at_broker(TaskSettings(broker_url=url))

    with pytest.raises(Unavailable, match=f"at 127.0.0.1:{ports[0]} does not answer"):
        look.see()

    assert all(f"127.0.0.1:{port}" in look.where for port in ports)
    assert "hush" not in look.where
