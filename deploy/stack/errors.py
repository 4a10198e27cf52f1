"""What can go wrong on one machine, said so that a person knows the cure."""

from jobs.errors import PenstockError


class StackError(PenstockError):
    """The local stack cannot go on."""


class NotInstalled(StackError):
    """A program that this needs is not on this machine."""


class DidNotStart(StackError):
    """A process died, or did not answer in time, while it was being started."""
