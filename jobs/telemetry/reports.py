"""Reports of errors to Sentry, off unless a DSN is set: this module is all that a process without them loads."""

from typing import Annotated, Any

from pydantic import AliasChoices, Field, SecretStr

from jobs.environment import Settings
from jobs.telemetry import extras


class ReportSettings(Settings):
    """Where errors are reported; Sentry's SDK reads `SENTRY_ENVIRONMENT` and `SENTRY_RELEASE` itself."""

    sentry_dsn: Annotated[
        SecretStr | None,
        Field(
            validation_alias=AliasChoices("SENTRY_DSN", "sentry_dsn"),
            description="The DSN of a project in Sentry; unset: no reports",
        ),
    ] = None


def part(module: str, settings: ReportSettings) -> Any:
    """Return the module that reports, imported now; None: nothing is to be reported."""
    is_on = settings.sentry_dsn is not None and settings.sentry_dsn.get_secret_value()
    return extras.load(module, needs="sentry_sdk", extra="sentry") if is_on else None


def begin(role: str, settings: ReportSettings) -> Any:
    """Report the errors of this process from now on, and return the module that does; None: they are not reported.

    Raises `ConfigurationError` for a DSN that is none.
    """
    sentry = part("jobs.telemetry.sentry", settings)
    if sentry is not None:
        sentry.start(settings.sentry_dsn, role)
    return sentry
