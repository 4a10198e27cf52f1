"""One child process: its start, its log, its end, and its end with us."""

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest

from deploy.stack.child import Child, end_together, harmless_environment
from deploy.stack.errors import DidNotStart
from tests.services.stack import eventually, gone

SECONDS = 10.0


def shell(script: str, log: Path) -> Child:
    return Child("part", ["/bin/sh", "-c", script], environment=harmless_environment(), log=log)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log" / "part.log"


def test_a_child_that_died_while_starting_is_known_at_once_with_its_last_words(log: Path) -> None:
    child = shell("echo out of luck >&2; exit 3", log)
    child.start()

    with pytest.raises(DidNotStart, match="ended with 3") as raised:
        child.wait_until(lambda: False, SECONDS)

    assert "out of luck" in str(raised.value)


def test_a_child_that_never_answers_is_given_up_at_its_deadline(log: Path) -> None:
    child = shell("echo still thinking; exec sleep 60", log)
    child.start()
    eventually(lambda: "thinking" in child.written(), SECONDS, "the child writes")

    with pytest.raises(DidNotStart, match=r"within 0\.05 s\n    still thinking"):
        child.wait_until(lambda: False, 0.05)

    child.kill()


def test_the_tail_is_of_this_start_and_not_of_the_one_before(log: Path) -> None:
    child = shell("echo once", log)
    child.start()
    child.wait(SECONDS)
    child.start()
    child.wait(SECONDS)

    assert child.tail() == "    once"
    assert log.read_text() == "once\nonce\n"


def test_the_log_is_readable_by_its_owner_alone(log: Path) -> None:
    child = shell("true", log)
    child.start()
    child.wait(SECONDS)

    assert log.stat().st_mode & 0o777 == 0o600


def test_killing_a_child_kills_what_it_started(log: Path) -> None:
    child = shell("sleep 60 & echo started; wait", log)
    pid = child.start()
    eventually(lambda: "started" in child.written(), SECONDS, "the grandchild runs")
    grandchildren = psutil.Process(pid).children()
    assert grandchildren

    child.kill()

    assert child.exit_code == -signal.SIGKILL
    assert gone(grandchildren, SECONDS) == []


def test_who_does_not_end_when_asked_is_killed(log: Path) -> None:
    deaf = shell("trap '' TERM; echo deaf; while :; do sleep 1; done", log)
    deaf.start()
    eventually(lambda: "deaf" in deaf.written(), SECONDS, "the child listens to nothing")

    assert not deaf.end(signal.SIGTERM, 0.1)

    assert deaf.pid is None


def test_all_are_asked_before_any_is_waited_for(tmp_path: Path) -> None:
    slow = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    children = [shell(slow, tmp_path / f"{number}.log") for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        eventually(lambda child=child: "ready" in child.written(), SECONDS, "the child is ready")  # type: ignore[misc]  # binds the loop's value

    assert end_together(children, SECONDS)

    assert [child.exit_code for child in children] == [0, 0, 0]


def test_a_child_that_never_started_can_be_ended(log: Path) -> None:
    child = shell("true", log)

    assert child.end(signal.SIGTERM, 1.0)
    assert (child.pid, child.exit_code) == (None, None)


def test_a_child_outlives_the_thread_that_asked_for_it(log: Path) -> None:
    child = shell("exec sleep 60", log)
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()

    assert not child.wait(0.2)

    child.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_child_ends_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from deploy.stack.child import Child, harmless_environment
        child = Child("part", ["sleep", "60"], environment=harmless_environment(), log=Path({str(tmp_path)!r}) / "log")
        print(child.start(), flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))

        parent.kill()

    assert gone([child], SECONDS) == []


def test_servers_see_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@there/x")

    assert "DATABASE_URL" not in harmless_environment()
    assert harmless_environment(HOME="/there")["HOME"] == "/there"
