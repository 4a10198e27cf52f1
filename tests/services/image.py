"""The image without an engine: the lines of deploy/Dockerfile, run here into a folder that stands for its own.

Paths are another, and nothing else: /opt/penstock, /build and /dist lie below a folder of the test's.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.stack.child import Child
from deploy.stack.home import ROOT
from deploy.stack.ports import LOOPBACK, free_port
from tests.services import dockerfile
from tests.services.fixtures import unavailable

INSTALL_SECONDS: Final = 300
WHERE: Final = re.compile(r"(?<!\S)/(opt/penstock|build|dist)\b")
NOT_HERE: Final = {"UV_NO_CACHE"}  # what the run before has downloaded is the same, by its hash
SYSTEM: Final = "/usr/local/bin:/usr/bin:/bin"
ALONE: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
CONFINE: Final = """
set -e
image=$1 base=$2 hidden=$3 user=$4 group=$5
shift 5
mount --make-rprivate /
mount --bind "$base" /mnt
mount --bind "$image" /media
for place in "$hidden" /opt; do [ -z "$place" ] || mount -t tmpfs -o mode=0755 none "$place"; done
[ -x "$base/bin" ] || { mkdir -p "$base"; mount --move /mnt "$base"; }
mkdir /opt/penstock /opt/empty
mount --move /media /opt/penstock
findmnt --raw --noheadings --output TARGET,OPTIONS | while read -r target options; do
    case "$target,$options" in
    /proc*|/sys*|/dev,*|/dev/pts*) ;;
    *,rw*) mount -o remount,bind,ro "$target" ;;
    esac
done
for place in /tmp /dev/shm; do mount -t tmpfs -o mode=1777,size=64m none "$place"; done
cd /opt/empty
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
"""What an engine does for a container of ours, with the Python of this machine for the image's own."""


def find_uv() -> str:
    """Return the uv that bootstrap has installed, into this checkout or into the one whose environment it shares."""
    shared = ROOT / ".venv"
    checkouts = (ROOT, shared.readlink().parent) if shared.is_symlink() else (ROOT,)
    candidates = [checkout / ".boot" / place for checkout in checkouts for place in ("bin/uv", "venv/bin/uv")]
    found = next((str(one) for one in candidates if one.exists()), None) or shutil.which("uv")
    return found or unavailable("no uv: deploy/bootstrap.sh installs it")


def pips_index() -> dict[str, str]:
    """Return the index that pip was told to use, for uv, which does not read pip's configuration."""
    asked = subprocess.run(
        ["python3", "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    index = os.environ.get("PIP_INDEX_URL") or asked.stdout.strip()
    return {"UV_DEFAULT_INDEX": index} if index and "UV_DEFAULT_INDEX" not in os.environ else {}


def why_not_confined() -> str | None:
    """Return what a confined container would lack here; None where one can be made."""
    if missing := [name for name in ("unshare", "findmnt", "setpriv") if shutil.which(name) is None]:
        return f"{', '.join(missing)} (Debian's package util-linux)"
    trial = [*ALONE, "mount", "-t", "tmpfs", "none", "/mnt"]
    tried = subprocess.run(trial, capture_output=True, text=True, check=False, timeout=60)
    return f"the right to mount (CAP_SYS_ADMIN): {tried.stderr.strip()}" if tried.returncode else None


class Image:
    """What an image of the present checkout holds, and how its containers are started."""

    def __init__(self, folder: Path) -> None:
        """Build it in `folder`."""
        self.folder = folder
        self.root = folder / "opt" / "penstock"
        self._tools = {"PATH": f"{Path(find_uv()).parent}:{os.environ['PATH']}", **pips_index()}
        if not shutil.which("strip"):
            unavailable("no strip: as root, apt-get install binutils")
        for stage in ("dependencies", "wheel"):
            self._copy(stage)
            for command in dockerfile.commands(stage):
                self._run(command, dockerfile.environment(stage))
        for command in dockerfile.commands(dockerfile.LAST):
            if command.startswith("uv "):
                self._run(command, {})

    def here(self, text: str) -> str:
        """Return `text` with the image's folders where they are now."""
        return WHERE.sub(lambda place: f"{self.folder}{place[0]}", text)

    def _copy(self, stage: str) -> None:
        for name in dockerfile.copied(stage):
            source, target = ROOT / name, self.folder / "build" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(source, target)

    def _run(self, command: str, environment: Mapping[str, str]) -> None:
        kept = {name: value for name, value in environment.items() if name not in NOT_HERE}
        done = subprocess.run(
            ["/bin/sh", "-c", self.here(command)],
            env=os.environ | self._tools | kept,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"

    def environment(self, **own: object) -> dict[str, str]:
        """Return what a container's processes see, with `own` over it; nothing of our own is among it."""
        path = f"{self.root}/bin:{SYSTEM}"
        set_by_image = dockerfile.environment(dockerfile.LAST) | {"PATH": path, "HOME": "/nonexistent"}
        return set_by_image | {name: str(value) for name, value in own.items()}

    def command(self, *words: str) -> list[str]:
        """Return the whole command of a container that is started with these words behind the image's name."""
        entry, *rest = dockerfile.words("ENTRYPOINT")
        return [str(self.root / "bin" / entry), *rest, *(words or dockerfile.words("CMD"))]

    def once(self, *words: str, directory: Path, **own: object) -> "subprocess.CompletedProcess[str]":
        """Run a container to its end."""
        return subprocess.run(
            self.command(*words),
            env=self.environment(**own),
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def confined(self, *words: str) -> list[str]:
        """Return the command of a container as process 1, as the image's account, where /tmp alone can be written to.

        /dev/shm can be as well: every engine makes one.
        """
        base = (self.root / "bin" / "python").resolve().parents[1]
        hidden = next((str(one) for one in reversed(base.parents) if not one.stat().st_mode & stat.S_IXOTH), "")
        user, group = dockerfile.of(dockerfile.LAST, "USER")[-1].split(":")
        _, *rest = self.command(*words)
        entry = ["/opt/penstock/bin/python", "-P", f"/opt/penstock/bin/{dockerfile.words('ENTRYPOINT')[0]}"]
        return [*ALONE, "sh", "-c", CONFINE, "sh", str(self.root), str(base), hidden, user, group, *entry, *rest]

    def probe(self, directory: Path, **own: object) -> int:
        """Return how the image's health check ends in a container with these variables."""
        _, *rest = dockerfile.words("HEALTHCHECK")
        return self.once(*rest, directory=directory, **own).returncode


class Container:
    """One role of the image in an empty folder, on free ports of this machine."""

    def __init__(self, image: Image, home: Path, *words: str, confined: bool = False, **own: object) -> None:
        """Describe it; nothing runs yet. Confined it is process 1 of a place of its own: see `why_not_confined`."""
        self.image = image
        self.folder = home / f"{words[0] if words else 'default'}-folder"
        self.folder.mkdir()
        self.ports = {
            name: free_port()
            for name in (
                "PENSTOCK_API_PORT",
                "PENSTOCK_WORKER_METRICS_PORT",
                "PENSTOCK_BEAT_METRICS_PORT",
                "FLOWER_PORT",
            )
        }
        hosts = dict.fromkeys(
            ("PENSTOCK_API_HOST", "PENSTOCK_WORKER_METRICS_HOST", "PENSTOCK_BEAT_METRICS_HOST", "FLOWER_ADDRESS"),
            LOOPBACK,
        )
        self.own = {**own, **hosts, **self.ports}
        self._is_confined = confined
        self.log = home / f"{self.folder.name}.log"
        self.child = Child(
            self.folder.name,
            image.confined(*words) if confined else image.command(*words),
            environment=image.environment(**self.own),
            log=self.log,
            directory=self.folder,
            leash=signal.SIGKILL if confined else signal.SIGTERM,
        )

    def stop(self) -> None:
        """Send SIGTERM to the process, as an engine does; confined, that is the child of who has made its place."""
        pid = self.child.pid
        inside = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if self._is_confined else [str(pid)]
        os.kill(int(inside[0]), signal.SIGTERM)

    def is_well(self) -> bool:
        """Say whether the health check ends well, as an engine would ask."""
        return self.image.probe(self.folder, **self.own) == 0
