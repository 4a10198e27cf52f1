"""What is shown cannot steer the terminal, and exit codes add up."""

import pytest

from deploy.cli.client import is_loopback
from deploy.cli.errors import DONE, NOT_SUCCEEDED, STILL_RUNNING
from deploy.cli.screen import clean
from deploy.cli.waiting import exit_code


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 漢字", "plain äöü 漢字"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\tb\nc", "a\\tb\\nc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        (None, ""),
        (7, "7"),
    ],
)
def test_what_is_not_printable_is_shown_as_its_escape(text: object, shown: str) -> None:
    assert clean(text) == shown


def test_only_letters_that_are_kept_stay() -> None:
    assert clean("a\nb\x07", keep="\n") == "a\nb\\x07"


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([], DONE),
        (["succeeded", "succeeded"], DONE),
        (["succeeded", "failed"], NOT_SUCCEEDED),
        (["cancelled"], NOT_SUCCEEDED),
        (["expired"], NOT_SUCCEEDED),
        (["failed", "running"], STILL_RUNNING),
        (["retrying"], STILL_RUNNING),
    ],
)
def test_unfinished_jobs_weigh_more_than_failed_ones(states: list[str], code: int) -> None:
    assert exit_code(states) == code


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost", True),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
    ],
)
def test_loopback_is_told_from_the_rest(url: str, here: bool) -> None:
    assert is_loopback(url) is here
