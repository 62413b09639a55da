"""Entries: what was sealed comes back, and nothing else is opened."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepolicy.runtime.entry import Entry, Serializer, Value, pickled, seal, unseal

opened: list[str] = []


class Trap:
    """Tells when its pickle is opened."""

    def __reduce__(self) -> Any:
        return opened.append, ("opened",)


class Gone:
    """Its class goes with a deploy."""


def sealed(value: Any = "value", key: str = "q:1", fingerprint: bytes = b"fields") -> bytes:
    return seal(key, fingerprint, 1_000, 2_000, 60_000, pickled(value))


def test_what_was_sealed_comes_back() -> None:
    assert unseal(sealed({"a": [1]}), "q:1", b"fields") == Entry(1_000, 2_000, 60_000_000, {"a": [1]})


@given(st.data())
def test_a_flipped_bit_anywhere_is_no_entry(data: st.DataObject) -> None:
    whole = bytearray(sealed())
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[at // 8] ^= 1 << at % 8
    assert unseal(bytes(whole), "q:1", b"fields") is None


@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_entry(data: bytes) -> None:
    assert unseal(data, "q:1", b"fields") is None


@pytest.mark.parametrize("length", [0, 1, 15, 16, 40, 43])
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
    assert unseal(data, "q:1", b"fields") is not None
    settings.SECRET_KEY_FALLBACKS = []
    assert unseal(data, "q:1", b"fields") is None


def test_cacheops_is_given_the_value_of_an_opened_entry() -> None:
    assert Serializer.loads(Value(None)) is None
    assert Serializer.loads(pickle.dumps([1])) == [1]
