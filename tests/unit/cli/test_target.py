"""Which API the command talks to, and which key it gets."""

import json
import os
from pathlib import Path

import pytest

from deploy.cli.errors import CommandError
from deploy.cli.target import KEY_VARIABLE, URL_VARIABLE, find_target, read_private, read_stack, stack_files

STACK = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (URL_VARIABLE, KEY_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    return tmp_path


def leave(folder: Path, text: str = "", mode: int = 0o600) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "stack.json"
    file.write_text(text or json.dumps({"api_url": STACK, "api_key": "pns_stack", "database_url": "postgresql://"}))
    file.chmod(mode)
    return file


def key_file(folder: Path, text: str = "pns_file\n", mode: int = 0o600) -> Path:
    file = folder / "api.key"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_the_running_stack_is_the_default(home: Path) -> None:
    file = leave(home)

    found = find_target(None, None)

    assert (found.url, found.key, found.source) == (STACK, "pns_stack", str(file))


def test_the_environment_wins_over_the_stack_and_an_option_over_both(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(home)
    monkeypatch.setenv(URL_VARIABLE, "https://jobs.example.com/api/")
    monkeypatch.setenv(KEY_VARIABLE, "pns_environment")

    named = find_target(None, None)
    told = find_target("http://[::1]:9", key_file(home))

    assert (named.url, named.key, named.source) == ("https://jobs.example.com/api", "pns_environment", URL_VARIABLE)
    assert (told.url, told.key, told.source) == ("http://[::1]:9", "pns_file", "--url")


def test_the_stacks_key_goes_to_the_stack_alone(home: Path) -> None:
    leave(home)

    assert find_target(STACK + "/", None).key == "pns_stack"
    with pytest.raises(CommandError, match="No API key for http://elsewhere"):
        find_target("http://elsewhere.example", None)


def test_a_key_never_shows_when_the_target_does(home: Path) -> None:
    leave(home)

    assert "pns_stack" not in repr(find_target(None, None))


def test_without_an_api_the_places_are_named(home: Path) -> None:
    with pytest.raises(CommandError, match=f"no local stack in {home}/stack.json"):
        find_target(None, None)


def test_without_a_home_this_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_HOME")
    monkeypatch.chdir(tmp_path)
    leave(tmp_path / ".run")

    assert stack_files()[0] == tmp_path / ".run" / "stack.json"
    assert find_target(None, None).key == "pns_stack"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://host",
        "http://",
        "http://u:p@host",
        "http://host?x=1",
        "http://host#x",
        "http://h:x",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(CommandError, match="The address in --url"):
        find_target(url, None)


@pytest.mark.parametrize("text", ["", " ", "two words", "two\nlines", "schlüssel", "\x1b[2J"])
def test_what_is_no_key_is_refused(home: Path, text: str) -> None:
    with pytest.raises(CommandError, match="is no API key"):
        find_target(STACK, key_file(home, text))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o777])
def test_a_file_with_a_key_that_others_can_reach_is_refused(home: Path, mode: int) -> None:
    with pytest.raises(CommandError, match="others may read it") as refused:
        read_private(key_file(home, mode=mode))
    leave(home, mode=mode)
    with pytest.raises(CommandError, match="others may read it"):
        find_target(None, None)

    assert refused.value.cure == f"Run: chmod 600 {home / 'api.key'}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_stack_of_another_user_is_refused(home: Path) -> None:
    os.chown(leave(home), 65_534, 65_534)

    with pytest.raises(CommandError, match="belongs to another user"):
        read_stack()


def test_a_key_file_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(CommandError, match="nothing cannot be read: No such file"):
        find_target(STACK, home / "nothing")


@pytest.mark.parametrize("text", ["{", "[]", "{}", "7", '{"api_key": "x"}'])
def test_a_damaged_stack_file_says_so(home: Path, text: str) -> None:
    leave(home, text)

    with pytest.raises(CommandError, match="is damaged"):
        read_stack()
