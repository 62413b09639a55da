"""How a contender reads and saves: one class for each way, made from the settings of this process."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.core.cache import cache
from django.db.models import Model

from benchmarks.contenders import TIMEOUT_S
from benchmarks.newspaper.models import Article
from benchmarks.newspaper.reads import READS, latest
from benchmarks.redis_socket import RedisSocket

__all__ = ["Orm", "style"]

_OF_CATEGORY: Final = [READS[question] for question in READS if question not in {"get", "author"}]


class Orm:
    """Asks the ORM, and whatever has patched it."""

    def __init__(self) -> None:
        self._reads = {**READS, "function": self.cached(latest, "latest")}

    def read(self, question: str, n: int) -> Any:
        """The answer to a question."""
        return self._reads[question](n)

    def reading(self, question: str, n: int) -> Callable[[], Any]:
        """The same as a function without arguments, with as little around it as can be."""
        return functools.partial(self._reads[question], n)

    def cached(self, function: Callable[[int], Any], rule: str) -> Callable[[int], Any]:  # noqa: ARG002
        """A function as this contender caches it; `cold` has a lock, `ahead` may be served while it is refreshed."""
        return function

    def save(self, article: Article) -> None:
        """Save a row and do what must be done for its readers."""
        article.save()


class _Cacheops(Orm):
    def cached(self, function: Callable[[int], Any], rule: str) -> Callable[[int], Any]:
        from cacheops import cached_as

        found: Callable[[int], Any] = cached_as(Article, timeout=TIMEOUT_S, lock=rule == "cold")(function)
        return found


class _CachePolicy(Orm):
    def cached(self, function: Callable[[int], Any], rule: str) -> Callable[[int], Any]:
        import cachepolicy

        return cachepolicy.cached_as(rule)(function)


class _ByHand(Orm):
    """Keys made by hand around everything, and deleted by hand."""

    def read(self, question: str, n: int) -> Any:
        return self._through_cache(READS[question], n)

    def reading(self, question: str, n: int) -> Callable[[], Any]:
        return functools.partial(self._through_cache, READS[question], n)

    def cached(self, function: Callable[[int], Any], rule: str) -> Callable[[int], Any]:  # noqa: ARG002
        return functools.partial(self._through_cache, function)

    def save(self, article: Article) -> None:
        article.save()
        stale = [f"{READS['get'].__name__}:{article.pk}"]
        stale += [f"{read.__name__}:{article.category_id - 1}" for read in _OF_CATEGORY]
        cache.delete_many(stale)

    def _through_cache(self, function: Callable[[int], Any], n: int) -> Any:
        key = f"{function.__name__}:{n}"
        value = cache.get(key)
        if value is None:
            value = function(n)
            cache.set(key, value)
        return value


class _Dogpile(Orm):
    """Caches functions only."""

    def cached(self, function: Callable[[int], Any], rule: str) -> Callable[[int], Any]:
        from dogpile.cache import make_region

        region = make_region().configure(
            "dogpile.cache.redis",
            expiration_time=1 if rule == "ahead" else TIMEOUT_S,
            arguments={"url": settings.DOGPILE_URL, "distributed_lock": True, "thread_local_lock": False},
        )
        found: Callable[[int], Any] = region.cache_on_arguments(namespace=rule)(function)
        return found


class _RedisLimit(Orm):
    """What any cache in Redis must do: get bytes from a socket, unpickle them."""

    def reading(self, question: str, n: int) -> Callable[[], Any]:
        socket = _socket(settings.LIMIT_URL)
        key = f"{question}:{n}".encode()
        socket.set(key, pickle.dumps(READS[question](n), pickle.HIGHEST_PROTOCOL))
        return lambda: pickle.loads(socket.get(key))


class _MemoryLimit(Orm):
    """What any cache in memory must do: find it, and give out a copy; nested values are unpickled."""

    def reading(self, question: str, n: int) -> Callable[[], Any]:
        key, kept = (question, n), self._kept
        value = READS[question](n)
        kept[key] = pickle.dumps(value, pickle.HIGHEST_PROTOCOL) if question == "function" else value
        if question == "function":
            return lambda: pickle.loads(kept[key])
        if question == "get":
            return lambda: _copy(kept[key])
        if question == "20 rows":
            return lambda: [_copy(row) for row in kept[key]]
        if question == "aggregate":
            return lambda: kept[key].copy()
        return lambda: kept[key]

    @functools.cached_property
    def _kept(self) -> dict[tuple[str, int], Any]:
        return {}


def _copy(row: Model) -> Model:
    """A row of its own for the reader, that shares the values."""
    new: Model = object.__new__(type(row))
    fields, state = row.__dict__.copy(), row._state
    fields["_state"] = own = object.__new__(type(state))
    own.__dict__.update(state.__dict__)
    if "fields_cache" in own.__dict__:
        own.fields_cache = own.fields_cache.copy()
    new.__dict__ = fields
    return new


_STYLES: Final[dict[str, type[Orm]]] = {
    "orm": Orm,
    "cacheops": _Cacheops,
    "cachepolicy": _CachePolicy,
    "by hand": _ByHand,
    "dogpile": _Dogpile,
    "limit, Redis": _RedisLimit,
    "limit, memory": _MemoryLimit,
}


@functools.cache
def _socket(url: str) -> RedisSocket:
    return RedisSocket(url)


@functools.cache
def style() -> Orm:
    """The style of this process."""
    return _STYLES[settings.BENCHMARK_STYLE]()
