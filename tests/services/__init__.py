"""The real servers that tests run against: `pytest_plugins = ["tests.services.fixtures"]` brings the fixtures."""
