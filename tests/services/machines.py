"""Machines of their own on one machine: a network, a name, a folder and nothing else in common but the code.

Each is a network namespace with an address of its own, on a bridge that is in a namespace as well: nothing is added to
the network of who runs this, and nothing that is sent leaves. Names come from a hosts file (ip-netns(8) puts what is in
/etc/netns/NAME over /etc), and no route leads to another resolver. In its mount namespace a machine sees its own folder
where every other sees its own, the folders of the others not at all, and whatever else there is read-only.
"""

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, Self, TypeVar

from deploy.stack.child import Child, harmless_environment
from deploy.stack.home import ROOT

T = TypeVar("T")

NAMED: Final = Path("/run/netns")
FILES: Final = Path("/etc/netns")
"""What ip-netns(8) puts over /etc."""
PREFIX: Final = "penstock-"
CLONE_NEWNET: Final = 0x40000000
_made = itertools.count(1)

_ENTER: Final = """
set -e
name=$1 folder=$2 here=$3 hidden=$4
shift 4
hostname "$name"
mount --bind "$folder" "$here"
findmnt --raw --noheadings --output TARGET,OPTIONS | while read -r target options; do
    case "$target,$options" in
    "$here",*|/proc*|/sys*|/dev,*|/dev/pts*) ;;
    *,rw*) mount -o remount,bind,ro "$target" ;;
    esac
done
for place in "$hidden" /dev/shm /var/tmp; do mount -t tmpfs -o mode=0755 none "$place"; done
cd "$here"
exec "$@"
"""


class Machine:
    """A host: `name` is what the others know it by."""

    def __init__(self, network: "Network", name: str, address: str) -> None:
        """Nothing is made before the network is."""
        self.name = name
        self.address = address
        self.namespace = f"{network.prefix}{name}"
        self.folder = network.folders / name
        self.here = network.here
        """Where it sees `folder`."""
        self._network = network
        self._port = f"to-{name}"

    def plug_in(self) -> None:
        """Give it a cable to the switch, an address and the names of the others."""
        switch = self._network.switch
        for folder in (self.folder, self.folder / "tmp"):
            folder.mkdir(mode=0o711)
        _ip("netns", "add", self.namespace)
        _ip("-n", switch, "link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        _ip("-n", switch, "link", "set", self._port, "master", "bridge", "up")
        _ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.namespace, "link", "set", device, "up")
        self._network.write_names(self.namespace)

    def cut_off(self) -> None:
        """Let the switch lose it: nothing arrives any more, and nobody is told."""
        _ip("-n", self._network.switch, "link", "set", self._port, "down")

    def come_back(self) -> None:
        """Let the switch have it again."""
        _ip("-n", self._network.switch, "link", "set", self._port, "up")

    def process(self, name: str, arguments: Sequence[str], **environment: object) -> Child:
        """Describe `python <arguments>` on it, in its own folder; `environment` is all that it knows."""
        own = {"HOME": self.here, "TMPDIR": self.here / "tmp", "PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": 1}
        return Child(
            f"{name} on {self.name}",
            [*self._enter(), sys.executable, *arguments],
            environment=harmless_environment(**{key: str(value) for key, value in {**own, **environment}.items()}),
            log=self._network.logs / f"{self.name}.{name}.log",
        )

    def run(self, arguments: Sequence[str], seconds: float, **environment: object) -> None:
        """Return when `python <arguments>` has ended well on it."""
        child = self.process("command", arguments, **environment)
        child.start()
        try:
            assert child.wait(seconds), f"{arguments} runs for {seconds:g} s\n{child.tail()}"
            assert child.exit_code == 0, child.tail()
        finally:
            child.kill()

    def _enter(self) -> list[str | Path]:
        enter = ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "--ipc", "sh", "-c", _ENTER, "sh"]
        return [*enter, self.name, self.folder, self.here, self._network.folders]

    def unplug(self) -> None:
        """Leave nothing of it but its folder."""
        subprocess.run(["ip", "netns", "delete", self.namespace], capture_output=True, check=False)
        shutil.rmtree(FILES / self.namespace, ignore_errors=True)


class Network:
    """A switch and the machines on it. What this process asks of them, it asks from the switch."""

    def __init__(self, home: Path, names: Sequence[str]) -> None:
        """Make nothing yet; all that is made stays under `home`, and in namespaces that carry our pid."""
        self.prefix = f"{PREFIX}{os.getpid()}-{next(_made)}-"
        self.switch = f"{self.prefix}switch"
        self.folders, self.here, self.logs = home / "machines", home / "here", home / "logs"
        addresses = (f"10.213.7.{number}" for number in range(11, 11 + len(names)))
        self.machines = {name: Machine(self, name, at) for name, at in zip(names, addresses, strict=True)}
        self._visitor = ThreadPoolExecutor(1, thread_name_prefix="visitor", initializer=self._enter)

    def __getitem__(self, name: str) -> Machine:
        """Return the machine of that name."""
        return self.machines[name]

    def __enter__(self) -> Self:
        """Make everything, or nothing."""
        try:
            _forget_the_dead()
            for folder in (self.folders, self.here, self.logs):
                folder.mkdir(mode=0o711)
            _ip("netns", "add", self.switch)
            _ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self.switch, "address", "add", "10.213.7.1/24", "dev", "bridge")
            _ip("-n", self.switch, "link", "set", "bridge", "up")
            for machine in self.machines.values():
                machine.plug_in()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Remove everything but the folders."""
        self._visitor.shutdown()
        for machine in self.machines.values():
            machine.unplug()
        subprocess.run(["ip", "netns", "delete", self.switch], capture_output=True, check=False)
        with suppress(OSError):  # somebody else's files are there
            FILES.rmdir()

    def visit(self, ask: Callable[[], T]) -> T:
        """Return what `ask` does; the sockets that it opens are in this network, as is nothing else of this process."""
        return self._visitor.submit(ask).result()

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with (NAMED / self.switch).open() as namespace:
            if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:  # of this thread alone: setns(2)
                raise OSError(ctypes.get_errno(), "setns")

    def write_names(self, namespace: str) -> None:
        """Let a machine find the others by name, and by nothing else."""
        folder = FILES / namespace
        folder.mkdir(parents=True)
        known = [("127.0.0.1", "localhost"), *((machine.address, name) for name, machine in self.machines.items())]
        (folder / "hosts").write_text("".join(f"{address} {name}\n" for address, name in known))
        (folder / "resolv.conf").write_text("")


def obstacle() -> str | None:
    """Return why no machine can be made here, None where one can: programs are missing, or rights, root's too.

    A container's root has not what it takes (capabilities(7)) unless it was given; so one is tried.
    """
    if missing := [name for name in ("ip", "unshare", "findmnt") if shutil.which(name) is None]:
        return f"{', '.join(missing)} (Debian's packages iproute2 and util-linux)"
    name = f"{PREFIX}{os.getpid()}-{next(_made)}-tried"
    inside = ["unshare", "--uts", "--ipc", "sh", "-c", "hostname tried && mount -t tmpfs none /dev/shm"]
    try:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "bridge", "type", "bridge")
        _ip("netns", "exec", name, *inside)
    except AssertionError as error:
        return f"the right to make network namespaces and to mount in them (CAP_SYS_ADMIN, CAP_NET_ADMIN): {error}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return None


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def _forget_the_dead() -> None:
    """Remove what a run has left that was killed before it could."""
    for left in NAMED.glob(f"{PREFIX}[0-9]*-*"):
        pid = left.name.removeprefix(PREFIX).partition("-")[0]
        if not Path(f"/proc/{pid}").exists():
            subprocess.run(["ip", "netns", "delete", left.name], capture_output=True, check=False)
            shutil.rmtree(FILES / left.name, ignore_errors=True)
