"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.certificates import Authority, Pair

# A deadline per example would be a timed assertion, and this may be a busy machine.
settings.register_profile("greenchat", deadline=None)
settings.load_profile("greenchat")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the tests' certificates."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Pair:
    """A certificate for localhost, and its key."""
    return authority.issue("localhost")
