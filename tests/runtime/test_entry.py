"""Entries: what was sealed comes back, and nothing else is opened."""

from __future__ import annotations

import hashlib
import pickle
import random
import struct
import sys
import zlib
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from cachepolicy import conf
from cachepolicy.runtime.entry import Serializer, seal, unseal
from cachepolicy.runtime.values import keep

opened: list[str] = []


class Trap:
    """Tells when its pickle is opened."""

    def __reduce__(self) -> Any:
        return opened.append, ("opened",)


class Gone:
    """Its class goes with a deploy."""


def sealed(value: Any = "value", key: str = "q:1", fingerprint: bytes = b"fields") -> bytes:
    return seal(key, fingerprint, 1_000, 2_000, 60_000, keep(value).payload())


def test_what_was_sealed_comes_back() -> None:
    entry = unseal(sealed({"a": [1]}), "q:1", b"fields")
    assert entry is not None
    assert (entry.birth_us, entry.wall_us, entry.bound_us, entry.kept.value()) == (1_000, 2_000, 60_000_000, {"a": [1]})


@given(st.data())
def test_a_flipped_bit_anywhere_is_no_entry(data: st.DataObject) -> None:
    whole = bytearray(sealed())
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[at // 8] ^= 1 << at % 8
    assert unseal(bytes(whole), "q:1", b"fields") is None


@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_entry(data: bytes) -> None:
    assert unseal(data, "q:1", b"fields") is None


@pytest.mark.parametrize("length", [0, 1, 15, 16, 40, 45, 46])
def test_a_cut_entry_is_no_entry(length: int) -> None:
    assert unseal(sealed()[:length], "q:1", b"fields") is None


def test_another_keys_entry_is_no_entry() -> None:
    assert unseal(sealed(key="q:1"), "q:2", b"fields") is None
    # Bytes moved between the value and the key, which a MAC over the two in a row would not tell apart.
    assert unseal(sealed(key="q:1") + b"q", ":1", b"fields") is None


def test_rows_of_other_fields_are_no_entry() -> None:
    assert unseal(sealed(fingerprint=b"before"), "q:1", b"after") is None


def test_nothing_is_unpickled_before_it_is_verified(settings: Any) -> None:
    forged = sealed(Trap())
    settings.SECRET_KEY = "another"
    assert unseal(forged, "q:1", b"fields") is None
    assert opened == []


def test_a_class_that_went_with_a_deploy_is_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sealed(Gone())
    monkeypatch.delitem(globals(), "Gone")
    assert unseal(data, "q:1", b"fields") is None


def test_a_rotated_secret_opens_what_the_old_one_sealed(settings: Any) -> None:
    settings.SECRET_KEY = "old"
    data = sealed()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    assert None not in [unseal(data, "q:1", b"fields") for _ in range(2)]
    settings.SECRET_KEY_FALLBACKS = []
    assert unseal(data, "q:1", b"fields") is None


def test_cacheops_is_given_the_value_of_an_opened_entry() -> None:
    assert Serializer.loads(keep(None)) is None
    assert Serializer.loads(pickle.dumps([1])) == [1]


def test_an_entry_of_the_format_before_is_no_entry() -> None:
    """In Redis there are some while a deploy goes on; their MAC is whole."""
    key = hashlib.blake2b(settings.SECRET_KEY.encode(), person=b"cachepolicy.mac", digest_size=32).digest()
    body = struct.pack(">BIQQQ", 1, 3, 1_000, 2_000, 60_000) + pickle.dumps("value", pickle.HIGHEST_PROTOCOL)
    before = hashlib.blake2b(body + b"q:1" + b"fields", key=key, digest_size=16).digest() + body
    assert unseal(before, "q:1", b"fields") is None
    again = hashlib.blake2b(sealed()[16:] + b"q:1" + b"fields", key=key, digest_size=16).digest() + sealed()[16:]
    assert unseal(again, "q:1", b"fields") is not None, "the same MAC over today's format is one"


def test_an_entry_of_the_format_to_come_is_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cachepolicy.runtime.entry._VERSION", 3)
    data = sealed()
    assert unseal(data, "q:1", b"fields") is not None
    monkeypatch.undo()
    assert unseal(data, "q:1", b"fields") is None


def test_a_value_of_exactly_that_size_is_left_as_it_is(settings: Any) -> None:
    plain, size = sealed("a" * 1_000), len(keep("a" * 1_000).payload())
    settings.CACHEPOLICY_COMPRESS_ABOVE = size
    assert sealed("a" * 1_000) == plain
    settings.CACHEPOLICY_COMPRESS_ABOVE = size - 1
    assert len(sealed("a" * 1_000)) < len(plain)


@pytest.mark.parametrize(("above", "shorter"), [(sys.maxsize, False), (5_000, False), (4_000, True), (1, True)])
def test_a_long_value_is_compressed_and_comes_back(settings: Any, above: int, shorter: bool) -> None:
    assert conf.compress_above() == sys.maxsize
    settings.CACHEPOLICY_COMPRESS_ABOVE = above
    value = {"text": "a" * 4_000}
    data = sealed(value)
    assert (len(data) < 1_000) == shorter
    entry = unseal(data, "q:1", b"fields")
    assert entry is not None
    assert entry.kept.value() == value


@given(st.data())
def test_a_flipped_bit_of_a_compressed_entry_is_no_entry(data: st.DataObject) -> None:
    with override_settings(CACHEPOLICY_COMPRESS_ABOVE=1):
        whole = bytearray(sealed("a" * 1_000))
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[at // 8] ^= 1 << at % 8
    assert unseal(bytes(whole), "q:1", b"fields") is None


def test_what_compressing_makes_no_smaller_is_left_as_it_is(settings: Any) -> None:
    value = random.Random(0).randbytes(1_000)
    plain = sealed(value)
    settings.CACHEPOLICY_COMPRESS_ABOVE = 100
    assert sealed(value) == plain


def test_a_process_opens_both_whatever_its_own_setting(settings: Any) -> None:
    plain = sealed("a" * 1_000)
    settings.CACHEPOLICY_COMPRESS_ABOVE = 100
    compressed = sealed("a" * 1_000)
    assert unseal(plain, "q:1", b"fields") is not None
    del settings.CACHEPOLICY_COMPRESS_ABOVE
    assert unseal(compressed, "q:1", b"fields") is not None


def test_nothing_is_decompressed_before_it_is_verified(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CACHEPOLICY_COMPRESS_ABOVE = 100
    forged = sealed("a" * 1_000)
    decompressed: list[int] = []
    monkeypatch.setattr(zlib, "decompress", lambda data: decompressed.append(len(data)))
    settings.SECRET_KEY = "another"
    assert unseal(forged, "q:1", b"fields") is None
    assert decompressed == []
