"""An entry: a value as it lies in Redis, with its birth, sealed by a MAC that is bound to its key.

Layout: MAC (16 bytes), version, length of the key, birth by Redis' clock and by the wall's, bound, pickle. The MAC is
keyed BLAKE2b (RFC 7693) over all of it, the key and the fingerprint of the tables' fields, and is verified before the
pickle is opened: flipped bytes, a forgery, another key's value and a row of other fields are no entry at all.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
import struct
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.conf import settings

__all__ = ["Entry", "Serializer", "Value", "pickled", "seal", "unseal"]

_HEADER: Final = struct.Struct(">BIQQQ")
_VERSION: Final = 1
_MAC_BYTES: Final = 16
_START: Final = _MAC_BYTES + _HEADER.size


class Entry(NamedTuple):
    """What an entry says: its birth in µs by Redis' clock and by the wall's, its bound in µs, and its value."""

    birth_us: int
    wall_us: int
    bound_us: int
    value: Any


def pickled(value: Any) -> bytes:
    """The bytes of a value; raises whatever its objects raise when they refuse to be pickled."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def seal(key: str, fingerprint: bytes, birth_us: int, wall_us: int, bound_ms: int, payload: bytes) -> bytes:
    """The entry for a key; `payload` comes from `pickled`."""
    name = key.encode()
    body = _HEADER.pack(_VERSION, len(name), max(birth_us, 0), max(wall_us, 0), bound_ms) + payload
    return _mac(_secrets()[0], body, name, fingerprint) + body


def unseal(data: bytes, key: str, fingerprint: bytes) -> Entry | None:
    """What an entry says, or None where it is not one that was sealed for this key."""
    if len(data) < _START:
        return None
    name, body, mac = key.encode(), data[_MAC_BYTES:], data[:_MAC_BYTES]
    if not any(hmac.compare_digest(_mac(secret, body, name, fingerprint), mac) for secret in _secrets()):
        return None
    version, length, birth_us, wall_us, bound_ms = _HEADER.unpack_from(body)
    if version != _VERSION or length != len(name):
        return None
    try:
        value = pickle.loads(memoryview(body)[_HEADER.size :])
    except Exception:
        return None  # its class went with a deploy, or refuses to come back
    return Entry(birth_us, wall_us, bound_ms * 1000, value)


def _mac(secret: bytes, body: bytes, name: bytes, fingerprint: bytes) -> bytes:
    digest = hashlib.blake2b(body, key=secret, digest_size=_MAC_BYTES)
    digest.update(name + fingerprint)
    return digest.digest()


def _secrets() -> tuple[bytes, ...]:
    return _derived(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@lru_cache(maxsize=8)
def _derived(*keys: str | bytes) -> tuple[bytes, ...]:
    texts = [key if isinstance(key, bytes) else key.encode() for key in keys]
    return tuple(hashlib.blake2b(text, person=b"cachepolicy.mac", digest_size=32).digest() for text in texts)


class Value:
    """A value that has been verified and opened, on its way through cacheops to its serializer."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Serializer:
    """What cacheops is given as CACHEOPS_SERIALIZER: entries are opened before it is asked, files are its own."""

    PickleError = pickle.PickleError
    HIGHEST_PROTOCOL = pickle.HIGHEST_PROTOCOL
    dumps = staticmethod(pickled)
    load = staticmethod(pickle.load)

    @staticmethod
    def loads(data: Any) -> Any:
        """The value of an opened entry; bytes are cacheops' own."""
        return data.value if isinstance(data, Value) else pickle.loads(data)
