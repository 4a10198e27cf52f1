"""Which release of Penstock this is."""

from importlib.metadata import PackageNotFoundError, version


def release_version() -> str:
    """Return the version that was installed; `unknown` in a checkout that was not."""
    try:
        return version("penstock")
    except PackageNotFoundError:
        return "unknown"
