"""`python -m tests.acceptance.previous_release`: the release before the newest revision, on the newest schema.

The code and the tests of that release are taken out of the repository's history into a temporary folder. Of them one
thing alone is replaced: where they bring a database to their schema, this checkout brings it to its own.
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jobs.migrations import head

ROOT: Final = Path(__file__).parents[2]
VERSIONS: Final = "jobs/migrations/versions"
SMOKE: Final = (
    "tests/integration/jobs/test_intake.py",
    "tests/integration/jobs/test_attempts.py",
    "tests/integration/jobs/test_fencing.py",
    "tests/integration/jobs/test_control.py",
    "tests/integration/jobs/test_upkeep.py",
    "tests/integration/jobs/test_search.py",
    "tests/conformance/test_results.py",
)
"""What of its tests says that jobs are accepted, run, settled, repaired, listed and pruned; the last by workers.

None of them that measures time: how busy the machine is, the schema cannot help.
"""

_STAND_IN: Final = '''"""In place of the migrations: the schema is a later release's."""

import os
import subprocess
import sys


def upgrade(engine, revision="head"):
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    later = {newer!r}
    environment = os.environ | {{"DATABASE_URL": url, "PYTHONPATH": later}}
    subprocess.run([sys.executable, "-m", "jobs.migrations"], env=environment, cwd=later, check=True, timeout=300)


def head():
    return {revision!r}
'''


class NoHistoryError(Exception):
    """The repository here does not reach back to the release before: a shallow clone, or none."""


def previous() -> str:
    """Return the commit before the one that brought the newest revision. Raises `NoHistoryError`."""
    newest = max(path.name for path in (ROOT / VERSIONS).glob("v*.py"))
    added = _git("log", "--diff-filter=A", "--format=%H", "-1", "--", f"{VERSIONS}/{newest}").decode().strip()
    if not added:  # not committed yet: the release before is what is
        return _git("rev-parse", "HEAD").decode().strip()
    try:
        return _git("rev-parse", "--verify", f"{added}^").decode().strip()
    except NoHistoryError:
        # In a shallow clone the oldest commit seems to have brought everything.
        raise NoHistoryError("this clone does not hold the release before: fetch all of the history") from None


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=60).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise NoHistoryError(said.decode(errors="replace").strip()) from error


def unpack(commit: str, folder: Path) -> None:
    """Let `folder` hold that release, with this checkout's migrations in place of its own."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", commit))) as archive:
        archive.extractall(folder, filter="data")
    stand_in = _STAND_IN.format(newer=str(ROOT), revision=head())
    (folder / "jobs" / "migrations" / "__init__.py").write_text(stand_in)


def run(folder: Path, arguments: Sequence[str] = SMOKE, *, seconds: float = 900) -> subprocess.CompletedProcess[str]:
    """Run those of the release's tests, by its own code, and return how that went."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    # The release's packages before those that are installed; the process starts in its folder.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = ours | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


def main() -> int:
    """Show what the tests said; 2 where the repository does not reach back."""
    parser = argparse.ArgumentParser(description="The tests of the release before, on this release's schema.")
    parser.add_argument("tests", nargs="*", default=SMOKE, help="files or tests of that release; default: a smoke test")
    chosen = parser.parse_args().tests
    try:
        commit = previous()
    except NoHistoryError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{commit[:12]} on schema {head()}")
    with tempfile.TemporaryDirectory(prefix="penstock-previous-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # servers may run under another account
        unpack(commit, folder)
        done = run(folder, chosen)
    print(done.stdout[-4000:], done.stderr[-2000:])
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
