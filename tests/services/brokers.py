"""The brokers that one suite must pass on alike."""

import pytest

BROKERS = ("valkey", "rabbitmq")

each_broker = pytest.mark.parametrize("broker_url", BROKERS, indirect=True)
"""Runs a test once on each broker; the test asks for the fixture `broker_url`."""
