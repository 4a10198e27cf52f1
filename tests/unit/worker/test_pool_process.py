"""A task is not ended by a signal that was meant for its worker, and what it starts can be ended by it."""

import os
import signal
import subprocess
import sys
import threading

from worker.pool_process import unstopped


def test_a_block_goes_on_when_its_process_is_told_to_stop() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with unstopped():
        os.kill(os.getpid(), signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) is before


def test_a_program_that_is_started_in_the_block_can_be_stopped() -> None:
    with unstopped(), subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        program.terminate()

        assert program.wait(10) == -signal.SIGTERM


def test_a_process_that_is_forked_in_the_block_can_be_stopped() -> None:
    reader, writer = os.pipe()
    with unstopped():
        child = os.fork()
        if child == 0:
            os.write(writer, b"!")
            signal.pause()
            os._exit(0)
        os.read(reader, 1)
        os.kill(child, signal.SIGTERM)

        _, status = os.waitpid(child, 0)

    assert os.WTERMSIG(status) == signal.SIGTERM


def test_in_a_thread_nothing_is_changed() -> None:
    seen: list[object] = []

    def look() -> None:
        with unstopped():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(5)

    assert seen == [signal.getsignal(signal.SIGTERM)]
