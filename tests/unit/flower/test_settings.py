"""Flower's login and place, from the environment and from a file."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy.flower.settings import FlowerSettings
from jobs.errors import ConfigurationError


@pytest.mark.parametrize("written", ["flower", "/flower", "/flower/"])
def test_the_prefix_is_one_path_however_it_is_written(written: str) -> None:
    chosen = FlowerSettings(flower_prefix=written)

    assert (chosen.flower_prefix, chosen.path) == ("/flower", "/flower/")


@pytest.mark.parametrize("written", ["/", "a b", "//", "/a//b", "http://x", "/a/.."])
def test_what_is_no_path_is_refused(written: str) -> None:
    with pytest.raises(ValidationError):
        FlowerSettings(flower_prefix=written)


def test_the_password_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("a,b:c\n")
    monkeypatch.setenv("PENSTOCK_FLOWER_PASSWORD_FILE", str(file))

    assert FlowerSettings(flower_user="eve").login() == "eve:a,b:c"


def test_the_variable_counts_where_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_FLOWER_PASSWORD", "other")

    assert FlowerSettings().login() == "penstock:other"
    assert "other" not in repr(FlowerSettings())


def test_there_is_no_flower_without_a_password() -> None:
    with pytest.raises(ConfigurationError, match="PENSTOCK_FLOWER_PASSWORD_FILE"):
        FlowerSettings().login()


def test_a_user_cannot_hold_what_ends_it() -> None:
    with pytest.raises(ValidationError):
        FlowerSettings(flower_user="a:b")
