"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests import complaints
from tests.certificates import Authority, Pair

# A deadline per example would be a timed assertion, and this may be a busy machine.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True)

pytest_runtest_makereport = complaints.pytest_runtest_makereport


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs the long tests too (``scripts/test --all``)."""
    parser.addoption("--all", action="store_true", help="run the tests that are marked as long, too")


def pytest_configure(config: pytest.Config) -> None:
    """Generate the same examples on every run, and new ones with ``--all``.

    A change must not fail because of an example that no run before it has drawn.
    """
    settings.load_profile("random" if config.getoption("--all") else "fixed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests out, unless all are asked for."""
    if not config.getoption("--all"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the tests' certificates."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Pair:
    """A certificate for localhost, and its key."""
    return authority.issue("localhost")
