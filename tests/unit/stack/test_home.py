"""The folder of one local stack."""

import os
from pathlib import Path

import pytest

from deploy.stack.home import AlreadyRunning, Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_held_home_is_refused_to_the_next_and_names_its_holder(home: Home) -> None:
    with home.held():
        with pytest.raises(AlreadyRunning, match=str(os.getpid())), Home(home.folder).held():
            pass

        assert home.holder() == os.getpid()


def test_a_home_that_was_let_go_has_no_holder_and_can_be_held_again(home: Home) -> None:
    with home.held():
        pass

    assert home.holder() is None
    with home.held():
        assert home.holder() == os.getpid()


def test_a_home_that_never_was_has_no_holder(home: Home) -> None:
    assert home.holder() is None
    assert home.read_stack() is None
    assert home.read_processes() == {}


def test_a_secret_is_made_once_and_readable_by_its_owner_alone(home: Home) -> None:
    with home.held():
        first = home.secret("flower")

        assert len(first) >= 20
        assert home.secret("flower") == first
        assert mode(home.folder / "flower.password") == 0o600


def test_what_the_stack_tells_is_readable_by_its_owner_alone(home: Home) -> None:
    with home.held():
        home.write_stack({"api_key": "secret"})

    assert mode(home.stack_file) == 0o600
    assert home.read_stack() == {"api_key": "secret"}


def test_noted_processes_are_read_back(home: Home) -> None:
    with home.held():
        home.write_processes({7: "then"})

    assert home.read_processes() == {7: "then"}


def test_a_broken_note_of_processes_is_no_note(home: Home) -> None:
    with home.held():
        (home.folder / "processes.json").write_text("{half")

    assert home.read_processes() == {}
