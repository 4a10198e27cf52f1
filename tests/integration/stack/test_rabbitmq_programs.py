"""RabbitMQ on a Debian machine that has none, unpacked without root and without installing."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest

from deploy.stack.account import SHARED_ROOT
from deploy.stack.errors import NotInstalled
from deploy.stack.home import ROOT
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.rabbitmq_programs import ERLANG, LIBRARY, RabbitPrograms, cache, find, find_or_install, unpack
from tests.services.fixtures import unavailable

DPKG_STATUS = Path("/var/lib/dpkg/status")
BROUGHT = re.compile(r"Package: (rabbitmq|erlang|socat)")


@pytest.fixture
def bare_status(tmp_path: Path) -> Path:
    """dpkg's list without RabbitMQ and Erlang, whatever this machine has."""
    if not DPKG_STATUS.exists():
        pytest.skip("no Debian")
    stanzas = DPKG_STATUS.read_text().split("\n\n")
    status = tmp_path / "status"
    status.write_text("\n\n".join(stanza for stanza in stanzas if not BROUGHT.match(stanza)))
    return status


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that the servers' account can enter."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-rabbitmq-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_an_unpacked_rabbitmq_runs_from_its_folder(bare_status: Path, reachable: Path) -> None:
    try:
        unpack(reachable / "tree", bare_status)
    except NotInstalled as error:
        unavailable(str(error))
    programs = find(reachable / "tree")
    assert programs is not None
    assert [programs.server.is_relative_to(reachable), programs.epmd.is_relative_to(reachable)] == [True, True]

    class Unpacked(RabbitServer):
        @property
        def programs(self) -> RabbitPrograms:
            assert programs is not None
            return programs

    with Unpacked(reachable / "node") as server, kombu.Connection(server.url) as connection:
        node = Path(f"/proc/{server.pid}/exe").resolve()
        connection.connect()

        assert connection.connected
        assert node.is_relative_to(reachable / "tree")


def test_a_failed_download_leaves_nothing_and_names_the_cure(tmp_path: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("no Debian")
    unreadable = tmp_path / "status"
    unreadable.mkdir()

    with pytest.raises(NotInstalled, match="apt-get install rabbitmq-server"):
        unpack(tmp_path / "tree", unreadable)

    assert not (tmp_path / "tree").exists()


def test_where_nothing_can_be_unpacked_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotInstalled, match=r"no Debian.*apt-get install rabbitmq-server"):
        find_or_install(tmp_path, tmp_path / "unpacked")


def test_what_was_unpacked_before_is_found_again(tmp_path: Path) -> None:
    server = tmp_path / "unpacked" / LIBRARY / "rabbitmq_server-4.0.0" / "sbin" / "rabbitmq-server"
    epmd = tmp_path / "unpacked" / ERLANG / "erts-15.0" / "bin" / "epmd"
    for program in (server, epmd):
        program.parent.mkdir(parents=True)
        program.touch()

    programs = find_or_install(tmp_path, tmp_path / "unpacked")

    assert (programs.server, programs.epmd) == (server, epmd)


def test_roots_copy_lies_where_every_account_can_reach_it() -> None:
    if os.geteuid() == 0:
        assert cache().is_relative_to(SHARED_ROOT)
    else:
        assert cache().is_relative_to(ROOT / ".run")
