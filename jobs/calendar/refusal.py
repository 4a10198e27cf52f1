"""The one error of the calendar."""

from jobs.errors import RefusedError


class InvalidTiming(RefusedError):
    """The timing is not one that can be kept."""

    def __init__(self, field: str, message: str) -> None:
        """Carry the field at fault (`zone`, `cron.minute`), and what is wrong with it and what to write instead."""
        super().__init__(f"{field}: {message}", errors=[{"field": field, "message": message}])
        self.field = field
        self.message = message
