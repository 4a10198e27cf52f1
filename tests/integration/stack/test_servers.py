"""PostgreSQL, Valkey and RabbitMQ as the local stack starts them."""

import os
import pwd
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import kombu
import psutil
import psycopg
import pytest
import redis

from deploy.stack import postgres as postgresql
from deploy.stack import valkey as valkey_programs
from deploy.stack.account import Account, forget_copies, service_account, settle, unsettle, within_reach
from deploy.stack.errors import DidNotStart, NotInstalled, StackError
from deploy.stack.postgres import PostgresServer
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.valkey import ValkeyServer
from tests.services.stack import gone

AS_ROOT = os.geteuid() == 0
NOBODY = Account(65534, 65534)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path / "postgresql", durable=False)
    yield server
    server.destroy()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "valkey")
    yield server
    server.destroy()


def listening_addresses(pid: int) -> set[str]:
    return {link.laddr.ip for link in psutil.Process(pid).net_connections("tcp") if link.status == psutil.CONN_LISTEN}


def test_postgresql_keeps_what_it_committed_when_it_is_killed(postgres: PostgresServer) -> None:
    postgres.start()
    url = postgres.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")

    postgres.kill()
    assert postgres.pid is None
    postgres.start()

    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    assert postgres.url == url


def test_postgresql_stops_at_once_with_a_client_connected(postgres: PostgresServer) -> None:
    postgres.start()
    process = psutil.Process(postgres.pid)

    with psycopg.connect(postgres.url) as connection:
        began = time.monotonic()
        postgres.stop()
        seconds = time.monotonic() - began
        connection.close()

    assert gone([process], 0.0) == []
    assert seconds < postgres.stop_seconds / 2
    assert postgres.pids == []


def test_postgresql_asks_everyone_for_a_password(postgres: PostgresServer) -> None:
    postgres.start()

    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url.replace(postgres.password, "guessed"))


def test_servers_listen_on_this_machine_alone(postgres: PostgresServer, valkey: ValkeyServer) -> None:
    for server in (postgres, valkey):
        server.start()

        assert server.pid is not None
        assert listening_addresses(server.pid) == {"127.0.0.1"}


def test_a_password_is_readable_by_its_owner_alone_and_in_no_command_line(valkey: ValkeyServer) -> None:
    valkey.start()

    files = [path for path in valkey.state.iterdir() if path.is_file() and path.name in {"password", "valkey.conf"}]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    assert valkey.password not in " ".join(psutil.Process(valkey.pid).cmdline())


@pytest.mark.skipif(not AS_ROOT, reason="only root changes to another account")
def test_servers_that_root_starts_do_not_run_as_root(postgres: PostgresServer, valkey: ValkeyServer) -> None:
    for server in (postgres, valkey):
        server.start()

        assert psutil.Process(server.pid).username() == "nobody"


def test_valkey_keeps_what_it_was_told_when_it_is_killed(valkey: ValkeyServer) -> None:
    valkey.start()
    with redis.Redis.from_url(valkey.url) as client:
        client.set("key", "kept")

    valkey.kill()
    valkey.start()

    with redis.Redis.from_url(valkey.url) as client:
        assert client.get("key") == b"kept"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_a_restart_keeps_the_url(valkey: ValkeyServer) -> None:
    valkey.start()
    url, pid = valkey.url, valkey.pid

    valkey.restart()

    assert valkey.url == url
    assert valkey.pid != pid


def test_a_second_start_of_a_running_server_changes_nothing(valkey: ValkeyServer) -> None:
    pid = valkey.start().pid

    assert valkey.start().pid == pid


def test_a_server_whose_last_port_is_taken_takes_another(valkey: ValkeyServer) -> None:
    valkey.start()
    valkey.stop()
    with socket.create_server(("127.0.0.1", valkey.port)) as taken:
        valkey.start()

        assert valkey.port != taken.getsockname()[1]
        with redis.Redis.from_url(valkey.url) as client:
            assert client.ping()


def test_a_server_is_not_ready_because_another_answers_on_its_port(tmp_path: Path, valkey: ValkeyServer) -> None:
    valkey.start()
    other = ValkeyServer(tmp_path / "other", port=valkey.port)
    (other.state / "password").write_text(valkey.password)

    with pytest.raises(DidNotStart, match="Address already in use"):
        other.start()

    other.destroy()


def test_a_server_that_is_told_to_stop_while_it_starts_gives_up(valkey: ValkeyServer) -> None:
    valkey.abandon()

    with pytest.raises(DidNotStart, match="told to stop"):
        valkey.start()

    assert valkey.pid is None


def test_a_cluster_that_was_half_made_is_made_again(postgres: PostgresServer) -> None:
    postgres.make_data()
    (postgres.data / "PG_VERSION").write_text("half")

    postgres.start()

    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_destroying_a_server_leaves_nothing(valkey: ValkeyServer) -> None:
    valkey.start()
    process, state = psutil.Process(valkey.pid), valkey.state

    valkey.destroy()

    assert gone([process], 1.0) == []
    assert not state.exists()
    assert not valkey.home.exists()


def test_a_server_runs_for_the_length_of_a_block(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        process = psutil.Process(server.pid)

    assert gone([process], 1.0) == []
    server.destroy()


def test_rabbitmq_has_virtual_hosts_and_stops_with_its_name_server(rabbit_server: RabbitServer) -> None:
    url = rabbit_server.make_vhost("alone")
    with kombu.Connection(url) as connection:
        connection.connect()
        assert connection.connected
    rabbit_server.remove_vhost("alone")
    with pytest.raises(DidNotStart, match="refused DELETE"):
        rabbit_server.remove_vhost("alone")

    assert len(rabbit_server.pids) == 2
    assert set().union(*map(listening_addresses, rabbit_server.pids)) <= {"127.0.0.1", "::1"}


@pytest.mark.skipif(not AS_ROOT, reason="only root changes to another account")
def test_state_behind_a_private_folder_is_kept_where_its_account_can_reach_it(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    home = private / "home"

    state = settle(home, NOBODY)

    assert NOBODY.reaches(state)
    assert not NOBODY.reaches(home)
    assert settle(home, NOBODY) == state
    unsettle(home)
    assert not state.exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root changes to another account")
def test_programs_behind_a_private_folder_are_copied_once(tmp_path: Path) -> None:
    tree = tmp_path / "private" / "package" / "install"
    (tree / "bin").mkdir(parents=True)
    (tree / "include").mkdir()
    program = tree / "bin" / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "private").chmod(0o700)

    (copy,) = within_reach([tree], NOBODY)

    assert copy != tree
    assert NOBODY.reaches(copy / "bin" / "program")
    assert not (copy / "include").exists()
    assert within_reach([tree], NOBODY) == [copy]
    forget_copies([tree])
    assert not copy.exists()


def test_without_the_wheel_the_systems_postgresql_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POSTGRESQL_PROGRAMS", raising=False)
    monkeypatch.setattr(postgresql, "WHEEL", "no_such_wheel")
    monkeypatch.setattr(postgresql, "DEBIAN", tmp_path)
    for version in ("9.6", "15", "17"):
        install(tmp_path / version / "bin", "postgres", "initdb")
    install(tmp_path / "18" / "bin", "psql")

    assert postgresql.find_programs() == tmp_path / "17" / "bin"


def test_the_folder_that_is_named_is_taken_and_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path / "16" / "bin", "postgres", "initdb")
    monkeypatch.setenv("POSTGRESQL_PROGRAMS", str(tmp_path / "16" / "bin"))
    assert postgresql.find_programs() == tmp_path / "16" / "bin"

    monkeypatch.setenv("POSTGRESQL_PROGRAMS", str(tmp_path / "17" / "bin"))
    with pytest.raises(NotInstalled, match=r"POSTGRESQL_PROGRAMS names .*17"):
        postgresql.find_programs()


def test_without_any_postgresql_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POSTGRESQL_PROGRAMS", raising=False)
    monkeypatch.setattr(postgresql, "WHEEL", "no_such_wheel")
    monkeypatch.setattr(postgresql, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotInstalled, match="set DATABASE_URL"):
        postgresql.find_programs()


def test_without_the_wheel_the_systems_valkey_or_redis_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(valkey_programs, "WHEEL", "no_such_wheel")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match="set BROKER_URL"):
        valkey_programs.find_program()

    install(tmp_path, "redis-server")

    assert valkey_programs.find_program() == tmp_path / "redis-server"


def install(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)


def test_a_cluster_that_cannot_be_made_says_what_initdb_said(
    monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    monkeypatch.setattr(postgresql, "USER", "pg_reserved")

    with pytest.raises(DidNotStart, match='cannot begin with "pg_"'):
        postgres.start()


def test_root_without_a_user_for_its_servers_is_told_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", {}.__getitem__)

    with pytest.raises(StackError, match="`nobody`"):
        service_account()


def test_an_ordinary_users_servers_run_as_that_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert service_account() is None
