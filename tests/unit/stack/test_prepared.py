"""The note that a cluster is prepared."""

from pathlib import Path

import pytest

from deploy.stack.prepared import PreparedNote


@pytest.fixture
def note(tmp_path: Path) -> PreparedNote:
    (tmp_path / "api.key").write_text("a key")
    return PreparedNote(tmp_path / "prepared", tmp_path / "api.key")


def test_a_note_is_true_until_it_is_torn_up(note: PreparedNote) -> None:
    assert not note.is_true()

    note.write()
    assert note.is_true()

    note.tear_up()
    assert not note.is_true()


def test_a_note_about_another_key_is_not_true(note: PreparedNote, tmp_path: Path) -> None:
    note.write()

    (tmp_path / "api.key").write_text("another key")

    assert not note.is_true()


def test_a_note_without_its_key_is_not_true(note: PreparedNote, tmp_path: Path) -> None:
    note.write()

    (tmp_path / "api.key").unlink()

    assert not note.is_true()
