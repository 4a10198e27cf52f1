"""A task of a queue that not every installation has."""

from celery import shared_task


@shared_task(name="settings.critical", queue="critical")
def critical() -> None:
    """Do nothing."""
