"""What the service's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.cluster import Cluster
from tests.service.world import Person, World


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make a service over an empty database, with some settings of its own."""
    made: list[World] = []

    def make(**limits: Any) -> World:
        made.append(World(tmp_path, **limits))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A service over an empty database."""
    return make_world()


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., Cluster]]:
    """Make a cluster over an empty database, of nodes with some names, with some settings of its own."""
    made: list[Cluster] = []

    def make(*names: str, **limits: Any) -> Cluster:
        made.append(Cluster(*names, **limits))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    """Nodes a, b and c over an empty database."""
    return make_cluster("a", "b", "c")


@pytest.fixture
def ann(world: World) -> Person:
    """A user who is online."""
    return world.user("ann")


@pytest.fixture
def bob(world: World, ann: Person) -> Person:
    """Another user who is online."""
    return world.user("bob")


@pytest.fixture
def cem(world: World, bob: Person) -> Person:
    """A third user who is online."""
    return world.user("cem")
