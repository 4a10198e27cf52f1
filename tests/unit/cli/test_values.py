"""What people type becomes what the API takes."""

import io
import time
from pathlib import Path

import pytest
import typer

from deploy.cli.values import duration, instant, pair, payload


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=1", 1),
        ("x=1.5", 1.5),
        ("x=true", True),
        ("x=null", None),
        ("x=", ""),
        ("x=hello", "hello"),
        ("x=a=b", "a=b"),
        ('x="1"', "1"),
        ('x={"a": [1]}', {"a": [1]}),
        ("x=NaN", "NaN"),
        ("x=" + "[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_is_json_where_it_reads_as_json_and_text_elsewhere(text: str, value: object) -> None:
    assert pair(text) == ("x", value)


@pytest.mark.parametrize("text", ["", "x", "=1"])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not key=value"):
        pair(text)


def test_pairs_go_into_the_object_that_was_given(tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"a": 1, "b": 2}')

    assert payload(None, None, []) == {}
    assert payload('{"a": 1}', None, ["b=2"]) == {"a": 1, "b": 2}
    assert payload(None, file, ["b=3"]) == {"a": 1, "b": 3}


def test_a_minus_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}'))

    assert payload(None, Path("-"), []) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"a": NaN}', "NaN is unknown to JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_payload_that_is_no_json_object_is_refused(text: str, why: str) -> None:
    with pytest.raises(typer.BadParameter, match=why):
        payload(text, None, [])


def test_a_file_that_cannot_be_read_and_two_payloads_are_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin"
    latin.write_bytes(b"\xff")

    for file in (tmp_path / "nothing", tmp_path, latin):
        with pytest.raises(typer.BadParameter, match="cannot be read"):
            payload(None, file, [])
    with pytest.raises(typer.BadParameter, match="exclude each other"):
        payload("{}", latin, [])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("10m", 600),
        ("2h", 7200),
        (" 1d ", 86_400),
        ("1h30m", 5400),
        ("1d2h3m4.5s", 93_784.5),
        ("1m500ms", 60.5),
    ],
)
def test_a_duration_has_a_unit_or_is_seconds(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1w", "1e3", "inf", "\u0661"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no duration"):
        duration(text)


def test_an_instant_without_an_offset_is_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert instant("2030-07-01T12:00") == "2030-07-01T12:00:00+02:00"
        assert instant("2030-07-01T12:00Z") == "2030-07-01T12:00:00+00:00"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "tomorrow", "12:00", "2030-13-01"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no instant"):
        instant(text)
