"""The brokers that one suite must pass on alike."""

import pytest

each_broker = pytest.mark.parametrize("broker_url", ["valkey", "rabbitmq"], indirect=True)
"""Runs a test once on each broker; the test asks for the fixture `broker_url`."""
