"""The cache: it keeps what is true, and never what has changed while it was read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenchat.errors import NoSuchGroup
from greenchat.service.delivery.cache import Cache


class Source:
    """Where a cache loads from; ``meanwhile`` happens while it reads."""

    def __init__(self) -> None:
        self.values: dict[int, object] = {1: "one", 2: "two", 3: "three"}
        self.reads: list[int] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def load(self, key: int) -> object:
        self.reads.append(key)
        if key not in self.values:
            raise NoSuchGroup
        value = self.values[key]
        self.meanwhile()
        return value


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(source: Source) -> Cache[int, object]:
    return Cache(source.load, size=2)


def test_a_value_is_read_once(source: Source, cache: Cache[int, object]) -> None:
    assert cache.get(1) is None
    assert [cache.load(1), cache.load(1), cache.get(1)] == ["one"] * 3
    assert source.reads == [1]


def test_false_is_a_value_too(source: Source, cache: Cache[int, object]) -> None:
    source.values[1] = False
    assert cache.load(1) is cache.load(1) is False
    assert source.reads == [1]


def test_a_forgotten_value_is_read_anew(source: Source, cache: Cache[int, object]) -> None:
    cache.load(1)
    source.values[1] = "uno"
    cache.forget(1)
    assert cache.load(1) == "uno"


def test_reload_reads_in_any_case(source: Source, cache: Cache[int, object]) -> None:
    cache.load(1)
    source.values[1] = "uno"
    assert [cache.reload(1), cache.load(1)] == ["uno", "uno"]


def test_what_changes_while_it_is_read_is_not_kept(source: Source, cache: Cache[int, object]) -> None:
    def change() -> None:
        source.values[1] = "uno"
        source.meanwhile = lambda: None
        cache.forget(1)

    source.meanwhile = change
    assert cache.load(1) == "uno"
    assert source.reads == [1, 1]


def test_a_value_that_always_changes_while_it_is_read_is_returned_and_not_kept(
    source: Source, cache: Cache[int, object]
) -> None:
    source.meanwhile = cache.clear
    assert cache.load(1) == "one"
    assert cache.get(1) is None


def test_what_was_put_while_it_was_read_is_kept(source: Source, cache: Cache[int, object]) -> None:
    source.meanwhile = lambda: cache.put(1, "newer")
    cache.load(1)
    assert cache.load(1) == "newer"


def test_an_error_passes_and_is_not_kept(source: Source, cache: Cache[int, object]) -> None:
    for _ in range(2):
        with pytest.raises(NoSuchGroup):
            cache.load(4)
    source.values[4] = "four"
    assert cache.load(4) == "four"


def test_the_cache_stays_within_its_size(source: Source, cache: Cache[int, object]) -> None:
    for key in (1, 2, 3):
        assert cache.load(key) == source.values[key]
    assert sum(cache.get(key) is not None for key in (1, 2, 3)) <= 2


def test_a_value_that_may_end_without_a_word_is_read_each_time(source: Source) -> None:
    """That a user does not exist, say: nobody tells the caches of a registration."""
    cache: Cache[int, object] = Cache(source.load, unkept="none")
    source.values[1] = "none"
    assert cache.load(1) == "none"
    source.values[1] = "one"
    assert cache.load(1) == "one"
    assert source.reads == [1, 1]
