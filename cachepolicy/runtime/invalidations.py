"""Invalidations: of rows and of whole tables, all of a transaction in one round trip, and never lost in silence."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

import redis
from cacheops.redis import redis_client
from cacheops.sharding import get_prefix

from cachepolicy import signals
from cachepolicy.runtime import near, scripts
from cachepolicy.runtime.conditions import digest
from cachepolicy.runtime.journal import EVERYTHING, RETRY_MS
from cachepolicy.runtime.link import Link, link

__all__ = ["MOST_ROWS", "REPLACEMENTS", "batch", "delivered", "row", "tables"]


class _Item(NamedTuple):
    """A row by the digests of its fields, or a whole table (None)."""

    prefix: str
    table: str
    fields: tuple[tuple[str, str], ...] | None


# Of a table in one round trip.
MOST_ROWS: Final = 50


class _Batch:
    """Items that wait for the end of a block; a thread that has inherited its context may outlive it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: list[_Item] | None = []

    def take(self, items: list[_Item]) -> bool:
        """Whether they will be sent at the end of the block."""
        with self._lock:
            if self._items is None:
                return False
            self._items += items
            return True

    def close(self) -> list[_Item]:
        """The end of the block: what is to be sent."""
        with self._lock:
            items, self._items = self._items, None
        return items or []


_batch: ContextVar[_Batch | None] = ContextVar("cachepolicy_invalidations", default=None)


@contextmanager
def batch() -> Iterator[None]:
    """Send the invalidations inside in one round trip at the end, also when the block raises."""
    if _batch.get() is not None:
        yield
        return
    block = _Batch()
    _batch.set(block)
    try:
        yield
    finally:
        _batch.set(None)
        if items := block.close():
            _send(items)


def tables(names: Iterable[str], using: str) -> None:
    """Invalidate whole tables of a database; never raises."""
    _take([_Item(get_prefix(tables=[name], dbs=[using]), name, None) for name in sorted(names)])


def row(prefix: str, table: str, digests: Iterable[tuple[str, str]]) -> None:
    """Invalidate a row by its fields and their digests; never raises."""
    _take([_Item(prefix, table, tuple(digests))])


def _row(prefix: str, table: str, values: dict[str, str]) -> None:
    row(prefix, table, [(field, digest(field, value)) for field, value in values.items()])


def _take(items: list[_Item]) -> None:
    block = _batch.get()
    if block is None or not block.take(items):
        _send(items)


def _send(items: list[_Item]) -> None:
    # Whatever strikes while one prefix is told, the others are told as well.
    with ExitStack() as stack:
        for prefix in dict.fromkeys(item.prefix for item in items):
            mine = list(dict.fromkeys(item for item in items if item.prefix == prefix))
            stack.callback(_send_under, prefix, _few(mine))


def _send_under(prefix: str, items: list[_Item]) -> None:
    client, here = redis_client, link(redis_client)
    try:
        _run(client, here, prefix, items)
        sent = True
    except BaseException as error:
        # Not only Redis': a time limit of the application's may strike while it is waited for.
        sent = False
        here.journal.add(prefix, dict.fromkeys(item.table for item in items))
        _replay_later(client, here)
        if not isinstance(error, redis.RedisError):
            raise
    finally:
        for item in items:
            near.invalidated(*item)
    for item in items if signals.invalidation.receivers else ():
        signals.invalidation.send_robust(sender=None, table=item.table, sent=sent, replayed=False)


def _few(items: list[_Item]) -> list[_Item]:
    """Many rows of a table are the whole table: by the row, 5 000 of them hold Redis up for everyone for 0.3 s."""
    if len(items) <= MOST_ROWS:
        return items
    counts = Counter(item.table for item in items)
    return list(
        dict.fromkeys(item if counts[item.table] <= MOST_ROWS else item._replace(fields=None) for item in items)
    )


def _run(client: Any, here: Link, prefix: str, items: list[_Item]) -> None:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(item.table for item in items), 1)}
    args: list[Any] = [scripts.random_text(), prefix]
    for item in items:
        args += [numbers[item.table], item.table, -1 if item.fields is None else len(item.fields)]
        for pair in item.fields or ():
            args += pair
    keys = scripts.server_keys(prefix) + scripts.table_keys(prefix, numbers)
    here.run(client, scripts.INVALIDATE, keys, args)


def delivered(client: Any, here: Link) -> bool:
    """Whether Redis has been told every invalidation of this process; tells it those it has missed if it can."""
    journal = here.journal
    if not journal:
        return True
    if not journal.may_be_tried():
        return False
    try:
        pending = journal.pending()
        if EVERYTHING in pending:
            client.flushdb()
            journal.told(pending)
            pending = {}
        for prefix in {prefix for prefix, _ in pending}:
            mine = {key: number for key, number in pending.items() if key[0] == prefix}
            _run(client, here, prefix, [_Item(prefix, table, None) for _, table in mine])
            journal.told(mine)
            for _, table in mine:
                signals.invalidation.send_robust(sender=None, table=table, sent=True, replayed=True)
    except redis.RedisError:
        _replay_later(client, here)
    return not journal


def _replay_later(client: Any, here: Link) -> None:
    # A worker that waits for its next task would otherwise keep what it knows to itself.
    if here.journal.watch():
        threading.Thread(target=_replay, args=(client, here), name="cachepolicy-replay", daemon=True).start()


def _replay(client: Any, here: Link) -> None:
    try:
        while here.journal:
            time.sleep(RETRY_MS / 1000)
            if link(client) is not here:
                return  # another server's by now
            delivered(client, here)
    finally:
        here.journal.is_watched = False


class _Upstream:
    """What cacheops' invalidation module takes for its Redis client."""

    @staticmethod
    def keys(pattern: str) -> list[str]:
        """invalidate_model() asks for the stamps of a table: it is invalidated instead, and there are none."""
        prefix, _, rest = pattern.rpartition("conj:")
        _take([_Item(prefix, rest.removesuffix(":*"), None)])
        return []

    @staticmethod
    def flushdb() -> None:
        """invalidate_all(): a lost one is made up for as any other is."""
        here = link(redis_client)
        pending = here.journal.pending()  # what is lost from here on may not be in what is emptied
        try:
            redis_client.flushdb()
            here.journal.told(pending)
        except BaseException as error:
            here.journal.add_everything()
            _replay_later(redis_client, here)
            if not isinstance(error, redis.RedisError):
                raise
        finally:
            near.clear()


def _invalidate_row(keys: list[str], args: list[str]) -> None:
    """cacheops' script that invalidates a row, which it gives as JSON of texts."""
    _row(keys[0], args[0], json.loads(args[1]))


REPLACEMENTS: Final = (
    ("cacheops.invalidation", "redis_client", lambda _: _Upstream()),
    ("cacheops.invalidation", "load_script", lambda _: lambda _name: _invalidate_row),
)
