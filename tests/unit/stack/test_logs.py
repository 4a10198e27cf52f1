"""Logs that do not grow without end."""

from pathlib import Path

from deploy.stack.logs import bound


def test_a_log_that_is_too_large_turns_over_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)

        bound(tmp_path, limit_bytes=50)
        writer.write(b"new\n")

    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "api.log.1").read_bytes() == b"old\n" * 100


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_bytes(b"few\n")

    bound(tmp_path, limit_bytes=50)

    assert [path.name for path in tmp_path.iterdir()] == ["api.log"]
