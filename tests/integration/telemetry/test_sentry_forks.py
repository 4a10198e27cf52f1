"""What a process has to report when it is forked is reported by that process alone."""

import subprocess
import sys
from typing import Final

from deploy.stack.home import ROOT
from tests.services.sentry import receiving
from tests.services.stack import eventually

SCRIPT: Final = """
import os, sys
from pydantic import SecretStr
from jobs.telemetry import sentry

sentry.start(SecretStr(sys.argv[1]), "worker")
sentry.report(ValueError(), {})
sys.stdin.readline()
sentry.report(KeyError(), {})
child = os.fork()
if not child:
    sentry.close()
    os._exit(0)
os.waitpid(child, 0)
print("forked", flush=True)
sys.stdin.readline()
sentry.close()
"""


def test_what_waits_to_be_sent_is_not_sent_by_a_fork_as_well() -> None:
    with receiving() as server:
        server.may_answer.clear()
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT, server.dsn],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process:
            assert process.stdin
            assert process.stdout
            eventually(lambda: server.events, 30, "the first report is under way, and holds up the second")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "forked\n"
            server.may_answer.set()
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait(60) == 0

    assert [one["exception"]["values"][-1]["type"] for one in server.events] == ["ValueError", "KeyError"]
