"""What Flower is told before it starts."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flower.urls import handlers
from flower.views.monitor import Metrics

from deploy.flower.app import GuardedMetrics, _guarded, prepare
from deploy.flower.settings import FlowerSettings


def prepared(**chosen: Any) -> Any:
    target: Any = SimpleNamespace(basic_auth=None)
    prepare(FlowerSettings(flower_password="x,y", **chosen), target)
    return target


def test_flower_looks_behind_its_login_under_its_prefix() -> None:
    target = prepared(flower_prefix="/see/it")

    assert (target.basic_auth, target.url_prefix, target.read_only) == (["penstock:x,y"], "see/it", True)


def test_flowers_own_login_counts_and_its_way_around_any_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "me:mine")
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")

    target = prepared()

    assert target.basic_auth is None
    assert "FLOWER_UNAUTHENTICATED_API" not in os.environ


def test_an_empty_login_of_flowers_own_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "")

    assert prepared().basic_auth == ["penstock:x,y"]


def test_flowers_own_secrets_may_be_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("broker_api", "cookie_secret", "oauth2_secret"):
        file = tmp_path / name
        file.write_text(f"the {name}\n")
        monkeypatch.setenv(f"FLOWER_{name.upper()}_FILE", str(file))

    target = prepared()

    assert [target.broker_api, target.cookie_secret, target.oauth2_secret] == [
        "the broker_api",
        "the cookie_secret",
        "the oauth2_secret",
    ]


def test_flowers_metrics_are_guarded_and_nothing_else_is_touched() -> None:
    before = [one for one in handlers if not (isinstance(one, tuple) and issubclass(one[1], Metrics))]

    after = [_guarded(one) for one in handlers]

    assert [one for one in after if isinstance(one, tuple) and one[1] is GuardedMetrics]
    assert [one for one in after if one in before] == before
