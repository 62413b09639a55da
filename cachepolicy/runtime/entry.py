"""An entry: a value as it lies in Redis, with its birth, sealed by a MAC that is bound to its key.

Layout: MAC (16 bytes), version, flags, length of the key, birth by Redis' clock and by the wall's, bound, payload. The
MAC is keyed BLAKE2b (RFC 7693) over all of it, the key and the fingerprint of the tables' fields, and is verified
before anything is decompressed or unpickled: flipped bytes, a forgery, another key's value and a row of other fields
are no entry at all.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
import struct
import zlib
from functools import lru_cache
from typing import Any, Final, NamedTuple

from cachepolicy import conf
from cachepolicy.runtime.values import Kept, from_payload

__all__ = ["Entry", "Serializer", "seal", "unseal"]

_HEADER: Final = struct.Struct(">BBIQQQ")
# 1 had no flags, and the bare pickle of its value.
_VERSION: Final = 2
_COMPRESSED: Final = 1
_MAC_BYTES: Final = 16
_START: Final = _MAC_BYTES + _HEADER.size


class Entry(NamedTuple):
    """What an entry says: its birth in µs by Redis' clock and by the wall's, its bound in µs, and its value."""

    birth_us: int
    wall_us: int
    bound_us: int
    kept: Kept


def seal(key: str, fingerprint: bytes, birth_us: int, wall_us: int, bound_ms: int, payload: bytes) -> bytes:
    """The entry for a key; `payload` is that of the value as it is kept."""
    name = key.encode()
    flags, payload = _compressed(payload)
    body = _HEADER.pack(_VERSION, flags, len(name), max(birth_us, 0), max(wall_us, 0), bound_ms) + payload
    return _mac(_macs()[0], body, name, fingerprint) + body


def unseal(data: bytes | memoryview, key: str, fingerprint: bytes) -> Entry | None:
    """What an entry says, or None where it is not one that was sealed for this key."""
    if len(data) < _START:
        return None
    name, whole = key.encode(), memoryview(data)
    if not _is_sealed(whole[_MAC_BYTES:], whole[:_MAC_BYTES], name, fingerprint):
        return None
    version, flags, length, birth_us, wall_us, bound_ms = _HEADER.unpack_from(whole, _MAC_BYTES)
    if version != _VERSION or length != len(name):
        return None
    payload = whole[_START:]
    try:
        kept = from_payload(zlib.decompress(payload) if flags & _COMPRESSED else payload)
    except Exception:
        return None  # its class went with a deploy, or refuses to come back
    return Entry(birth_us, wall_us, bound_ms * 1000, kept)


def _compressed(payload: bytes) -> tuple[int, bytes]:
    """The flags, and the payload as it is stored."""
    if len(payload) > conf.compress_above():
        smaller = zlib.compress(payload, 1)
        if len(smaller) < len(payload):
            return _COMPRESSED, smaller
    return 0, payload


def _is_sealed(body: memoryview, mac: memoryview, name: bytes, fingerprint: bytes) -> bool:
    for keyed in _macs():  # noqa: SIM110 - a generator costs as much as a short digest
        if hmac.compare_digest(_mac(keyed, body, name, fingerprint), mac):
            return True
    return False


def _mac(keyed: hashlib.blake2b, body: bytes | memoryview, name: bytes, fingerprint: bytes) -> bytes:
    digest = keyed.copy()
    digest.update(body)
    digest.update(name + fingerprint)
    return digest.digest()


def _macs() -> tuple[hashlib.blake2b, ...]:
    """That of the secret to seal with, and those of older ones."""
    current, fallbacks = conf.secret_keys()
    return _keyed(current, *fallbacks)


@lru_cache(maxsize=8)
def _keyed(*secrets: str | bytes) -> tuple[hashlib.blake2b, ...]:
    """What has taken in its key and nothing else: to be copied."""
    texts = [secret if isinstance(secret, bytes) else secret.encode() for secret in secrets]
    keys = [hashlib.blake2b(text, person=b"cachepolicy.mac", digest_size=32).digest() for text in texts]
    return tuple(hashlib.blake2b(key=key, digest_size=_MAC_BYTES) for key in keys)


class Serializer:
    """What cacheops is given as CACHEOPS_SERIALIZER: entries are opened before it is asked, files are its own."""

    PickleError = pickle.PickleError
    HIGHEST_PROTOCOL = pickle.HIGHEST_PROTOCOL
    load = staticmethod(pickle.load)

    @staticmethod
    def dumps(data: Any) -> bytes:
        """The bytes of a file."""
        return pickle.dumps(data, pickle.HIGHEST_PROTOCOL)

    @staticmethod
    def loads(data: Any) -> Any:
        """The value of an opened entry; bytes are cacheops' own."""
        return data.value() if isinstance(data, Kept) else pickle.loads(data)
