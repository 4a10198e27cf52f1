"""A note beside our own cluster's state: this release's schema and the kept key are in it already.

It saves the second start a process that would only find that there is nothing to do. The API looks for itself
whether the schema is its own before it calls itself ready, so a note that is wrong delays and misleads nobody.
"""

import hashlib
from pathlib import Path

from deploy.stack.home import ROOT

MIGRATIONS = ROOT / "jobs" / "migrations" / "versions"


class PreparedNote:
    """The note in `file`, about the migrations of this checkout and the key in `key_file`."""

    def __init__(self, file: Path, key_file: Path) -> None:
        """Name the files; nothing is read yet."""
        self._file = file
        self._key_file = key_file

    def is_true(self) -> bool:
        """Say whether the note is there and about these very migrations and this very key."""
        if not self._file.exists() or not self._key_file.exists():
            return False
        return self._file.read_text() == self._fingerprint()

    def write(self) -> None:
        """Note that all is prepared."""
        self._file.write_text(self._fingerprint())

    def tear_up(self) -> None:
        """Forget it: the next start prepares again."""
        self._file.unlink(missing_ok=True)

    def _fingerprint(self) -> str:
        files = [*sorted(MIGRATIONS.glob("*.py")), self._key_file]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
