"""What the tests of `jobs` share beyond the servers."""

from tests.integration.jobs.million import million  # noqa: F401 - pytest finds fixtures by name in this module
