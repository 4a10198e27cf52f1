"""Under which account a server runs, and where that account can reach its programs and its state.

PostgreSQL refuses to run as root. Started by root, servers run as `nobody`; where a private folder (a home of
mode 0700, say) bars the way, programs are copied and state is kept under /var/lib, both owned by root.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.errors import StackError

SHARED_ROOT = Path("/var/lib")
NOT_NEEDED_TO_RUN = ("include", "*.a", "pgxs", "pkgconfig")


@dataclass(frozen=True)
class Account:
    """A user and group to run a server as."""

    uid: int
    gid: int

    def reaches(self, path: Path) -> bool:
        """Say whether this account may enter the folder or run the program `path`; asked of the kernel, by trying."""
        asked = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            check=False,
        )
        return asked.returncode == 0

    def owns(self, path: Path) -> None:
        """Give `path` to this account."""
        os.chown(path, self.uid, self.gid)


def service_account() -> Account | None:
    """Name the account for servers: `nobody` when root asks, otherwise nobody else than who asks (None)."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise StackError("root needs a user called `nobody` to run servers as; make one, or run as a user") from None
    return Account(entry.pw_uid, entry.pw_gid)


def settle(home: Path, account: Account | None) -> Path:
    """Make and return the folder for a server's state: `home`/state, or where that links to within reach."""
    mode = 0o711 if account else 0o700
    home.mkdir(parents=True, exist_ok=True, mode=mode)
    state = home / "state"
    if not state.is_symlink() and not state.exists() and account and not account.reaches(home):
        state.symlink_to(_shared("state", home))
    real = state.resolve()
    real.mkdir(exist_ok=True)
    real.chmod(mode)
    return real


def unsettle(home: Path) -> None:
    """Remove `home` and the state that it links to."""
    state = home / "state"
    if state.is_symlink():
        shutil.rmtree(state.resolve(), ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def forget_copies(trees: Sequence[Path]) -> None:
    """Remove the copies of `trees` that `within_reach` made."""
    shutil.rmtree(_shared("programs", *trees), ignore_errors=True)


def within_reach(trees: Sequence[Path], account: Account | None) -> Sequence[Path]:
    """Return `trees`, or copies of them side by side, such that `account` can run what is in them.

    All trees must have one parent's parent in common: libraries are found by relative paths.
    """
    if account is None or all(account.reaches(tree) for tree in trees):
        return trees
    top = Path(os.path.commonpath([tree.parent for tree in trees]))
    shared = _shared("programs", *trees)
    copies = [shared / tree.relative_to(top) for tree in trees]
    if not shared.exists():
        _copy_at_once(trees, top, shared)
    return copies


def _copy_at_once(trees: Sequence[Path], top: Path, shared: Path) -> None:
    """Copy under another name first, so that a second process never sees half a copy."""
    half = Path(tempfile.mkdtemp(prefix=f"{shared.name}.", dir=shared.parent))
    for tree in trees:
        target = half / tree.relative_to(top)
        target.parent.mkdir(parents=True, exist_ok=True)
        if tree.is_dir():
            shutil.copytree(tree, target, symlinks=True, ignore=shutil.ignore_patterns(*NOT_NEEDED_TO_RUN))
        else:
            shutil.copy2(tree, target)
    half.chmod(0o711)
    try:
        half.rename(shared)
    except OSError:
        shutil.rmtree(half)
        if not shared.exists():
            raise


def _shared(kind: str, *paths: Path) -> Path:
    """Name a folder under /var/lib that belongs to exactly these paths in their present version."""
    facts = [f"{path.resolve()}:{path.stat().st_mtime_ns if kind == 'programs' else ''}" for path in paths]
    return SHARED_ROOT / f"penstock-{kind}-{hashlib.sha256('|'.join(facts).encode()).hexdigest()[:16]}"
