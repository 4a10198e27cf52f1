"""`python -m deploy.stack up | start | stop | clean`: the local stack by hand; `make` calls it."""

import sys
from contextlib import suppress

from deploy.stack import postgres, valkey
from deploy.stack.account import forget_copies, unsettle
from deploy.stack.announce import complain, say
from deploy.stack.background import start_detached, stop
from deploy.stack.errors import NotInstalled, StackError
from deploy.stack.home import AlreadyRunning, Home
from deploy.stack.options import Options
from deploy.stack.postgres import trees_of
from deploy.stack.supervisor import Supervisor

USAGE = """usage: python -m deploy.stack COMMAND

  up      run the stack here until Ctrl-C
  start   start it in the background and return when it serves
  stop    end the one in the background
  clean   remove its state for good
  purge   that, and the copies of server programs that root's stacks use"""


def clean(home: Home) -> int:
    """Remove the state of a stack that does not run. Raises `AlreadyRunning`."""
    with home.held():
        for server in ("postgresql", "valkey", "rabbitmq"):
            unsettle(home.folder / server)
        unsettle(home.folder)
    say(f"Removed {home.folder}.")
    return 0


def purge(home: Home) -> int:
    """Remove the state, and what was copied out of this environment. Raises `AlreadyRunning`."""
    clean(home)
    with suppress(NotInstalled):
        forget_copies(trees_of(postgres.find_programs()))
        forget_copies([valkey.find_program()])
    return 0


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    home = Home()
    commands = {
        "up": lambda: Supervisor(home, Options.read()).run(),
        "behind": lambda: Supervisor(home, Options.read(), tells=False).run(),
        "start": lambda: start_detached(home),
        "stop": lambda: stop(home),
        "clean": lambda: clean(home),
        "purge": lambda: purge(home),
    }
    if len(arguments) != 1 or arguments[0] not in commands:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]]()
    except AlreadyRunning as error:
        complain(str(error))
    except StackError as error:
        complain(f"Cannot go on: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
