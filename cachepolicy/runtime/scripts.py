"""The Lua scripts, and the names of the keys they work on."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["FILL", "INVALIDATE", "OPEN", "random_text", "server_keys", "stamp_key", "table_keys"]

_FOLDER: Final = Path(__file__).with_name("lua")


def _script(name: str) -> str:
    return (_FOLDER / "table.lua").read_text() + (_FOLDER / f"{name}.lua").read_text()


FILL: Final = _script("fill")
INVALIDATE: Final = _script("invalidate")
OPEN: Final = _script("open")


def server_keys(prefix: str) -> list[str]:
    """The generation of everything stored under a prefix, and the high-water mark of Redis' clock."""
    return [f"{prefix}cachepolicy:generation", f"{prefix}cachepolicy:clock"]


def table_keys(prefix: str, tables: Iterable[str]) -> list[str]:
    """The record of each table: its epoch, the schemes known of it and its marks; no names of plain cacheops'."""
    return [f"{prefix}{kind}:{table}" for table in tables for kind in ("epoch", "known", "marks")]


def stamp_key(prefix: str, table: str, scheme: str, digests: str) -> str:
    """The stamp that entries depend on which ask for rows of these values."""
    return f"{prefix}stamp:{table}:{scheme}:{digests}"


def random_text() -> str:
    """What no other stamp is called."""
    return secrets.token_hex(8)
