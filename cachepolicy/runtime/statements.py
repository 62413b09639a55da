"""What an SQL statement does, told from its text: read or write, the tables it names, control of the transaction.

It fails closed: what is not certainly a read is a write. Three things no text tells: that a trigger, a rule or a
cascade of the database's own writes further tables, that an operator or a cast calls a function, and that a view does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, Final

from cachepolicy import conf
from cachepolicy.runtime.sql_tokens import (
    ImpossibleReading,
    Token,
    UnreadableText,
    lexers,
    statements_of,
    words_of,
)
from cachepolicy.runtime.sql_words import ACCESS, BEGINNING, ENDING, ISOLATION, PRAGMAS, PURE_FUNCTIONS, SYNTAX

__all__ = ["READ", "Statement", "classify", "words_of"]

_CACHED: Final = 2048
_LONGEST_CACHED: Final = 4096


@dataclass(frozen=True, slots=True)
class Statement:
    """What executing a text does.

    `tables`: words that may be tables it writes to, in lower case. `control`: begin, commit or rollback of the
    transaction. `commits`: it may commit what the transaction did before. `unsettles`: it changes isolation behind
    Django's back; `uncommitted`: perhaps to READ UNCOMMITTED. `uncertain`: the text does not tell whether a transaction
    is open afterwards. `savepoint`: (set, back or release; its name). `calls`: it is a write for these functions alone.
    """

    writes: bool = False
    tables: frozenset[str] = frozenset()
    control: str = ""
    unsettles: bool = False
    commits: bool = False
    uncommitted: bool = False
    uncertain: bool = False
    savepoint: tuple[str, str] = ("", "")
    calls: frozenset[str] = frozenset()


READ: Final = Statement()
_MODIFYING: Final = frozenset({"insert", "update", "delete", "merge", "replace", "upsert"})
_QUERIES: Final = frozenset({"select", "values", "table", "with"})
_HARMLESS: Final = frozenset({"show", "fetch", "move", "close", "listen", "unlisten", "notify", "help"})
_XA: Final = {"start": "begin", "begin": "begin", "commit": "commit", "rollback": "rollback"}
_AFTER_A_SOLE_TABLE: Final = frozenset({"set", "where", "values", "select", "default", "returning", "order", "limit"})


def classify(sql: object, vendor: str = "") -> Statement:
    """What executing `sql` does on a database of Django's `vendor`; of any, where none is given."""
    if not isinstance(sql, str):
        text = _text(sql)
        if text is None:
            # The names in it, as Python writes it, are all that can be had.
            return Statement(writes=True, tables=words_of(repr(sql)), commits=True)
        sql = text
    # Names of savepoints are counted up: they would push everything else out of the cache.
    uncached = len(sql) > _LONGEST_CACHED or sql[:9].upper() in ("SAVEPOINT", "RELEASE S", "ROLLBACK ")
    found = _classified(sql, vendor) if uncached else _cached(sql, vendor)
    if found.calls and found.calls <= conf.pure_functions():
        return dataclasses.replace(found, writes=False, calls=frozenset())
    return found


def _text(sql: object) -> str | None:
    if isinstance(sql, (bytes, bytearray)):
        return sql.decode("ascii") if sql.isascii() else None
    as_string: Any = getattr(sql, "as_string", None)  # psycopg's Composed, SQL, Identifier …
    try:
        text = as_string(None)
    except Exception:  # whatever it is, it will not say
        return None
    return text if isinstance(text, str) else None


def _classified(text: str, vendor: str) -> Statement:
    readings = []
    try:
        for lexer in lexers(vendor, text):
            with contextlib.suppress(ImpossibleReading):
                readings.append(_together([_one(tokens, text, vendor) for tokens in statements_of(text, lexer)]))
    except UnreadableText:
        readings = []
    if not readings:
        return Statement(writes=True, tables=words_of(text), commits=True)
    return functools.reduce(_either, readings)


_cached = functools.lru_cache(_CACHED)(_classified)


def _together(statements: list[Statement]) -> Statement:
    """Several statements of one text, which is a write whatever they are."""
    if len(statements) < 2:
        return statements[0] if statements else READ
    return Statement(
        writes=True,
        tables=frozenset().union(*(each.tables for each in statements)),
        unsettles=any(each.unsettles for each in statements),
        commits=any(each.commits or each.control for each in statements),
        uncommitted=any(each.uncommitted for each in statements),
        # The END of a trigger's body looks like a COMMIT.
        uncertain=any(each.uncertain or each.control for each in statements),
    )


def _either(one: Statement, other: Statement) -> Statement:
    """The worse of two readings of one text."""
    if one == other:
        return one
    together = _together([one, other])
    agreed = one.control == other.control
    writes = one.writes or other.writes or not agreed
    by_calls = all(each.calls or not each.writes for each in (one, other))
    return dataclasses.replace(
        together,
        writes=writes,
        control=one.control if agreed else "",
        commits=one.commits or other.commits or not agreed,
        uncertain=one.uncertain or other.uncertain or not agreed,
        savepoint=one.savepoint if one.savepoint == other.savepoint else ("", ""),
        calls=one.calls | other.calls if by_calls and agreed else frozenset(),
    )


def _one(tokens: list[Token], text: str, vendor: str) -> Statement:
    verb = "" if tokens[0].quoted else tokens[0].word
    # A quoted word is never the grammar's.
    words = [token.word for token in tokens if not token.quoted]
    may_commit = vendor not in ("postgresql", "sqlite")
    if verb in _QUERIES:
        return _query(tokens)
    if verb in _HARMLESS:
        return READ
    if verb in ("explain", "describe", "desc"):
        return _explain(tokens, text, vendor)
    if verb == "pragma":
        return _pragma(tokens)
    if verb in ("set", "reset"):
        return _set(tokens, words)
    if verb == "declare" and "cursor" in words and "for" in words:
        return _query(tokens[next(i for i, token in enumerate(tokens) if token.word == "for") :])
    if verb in ("savepoint", "release"):
        return Statement(savepoint=("set" if verb == "savepoint" else "release", tokens[-1].word))
    if (verb == "begin" or words[:2] == ["start", "transaction"]) and BEGINNING.issuperset(words):
        settled = {"isolation", "snapshot"}.isdisjoint(words)
        uncommitted = "uncommitted" in words
        return Statement(control="begin", unsettles=not settled, commits=may_commit, uncommitted=uncommitted)
    if verb in ("rollback", "abort") and "to" in words:
        return Statement(savepoint=("back", tokens[-1].word))
    if verb in ("commit", "end", "rollback", "abort") and ENDING.issuperset(words) and len(words) == len(tokens):
        if "chain" in words and "no" not in words:
            return Statement(control="begin", commits=True)
        return Statement(control="commit" if verb in ("commit", "end") else "rollback")
    if verb == "xa" and words[1:2] and words[1] in _XA:
        return Statement(control=_XA[words[1]], commits=True)
    if words[:2] == ["prepare", "transaction"]:
        return Statement(control="commit")
    if verb == "copy" and "to" in words and not _names_what_it_reads(tokens):
        return READ
    if verb in _MODIFYING:
        return Statement(writes=True, tables=_targets(tokens, verb))
    # What runs may stand in a literal, as in DO or EXECUTE IMMEDIATE.
    return Statement(writes=True, tables=words_of(text), commits=may_commit)


def _query(tokens: list[Token]) -> Statement:
    if any(_modifies(tokens, i) for i in range(len(tokens))):
        return Statement(writes=True, tables=frozenset(token.word for token in tokens))
    calls = _unknown_calls(tokens)
    return Statement(writes=True, calls=calls) if calls else READ


def _modifies(tokens: list[Token], i: int) -> bool:
    token = tokens[i]
    if token.quoted or (token.word not in _MODIFYING and token.word != "into"):
        return False
    if token.called and token.word in ("insert", "replace"):
        return False  # functions of texts
    before = [each.word for each in tokens[max(i - 3, 0) : i] if not each.quoted]
    return not (token.word == "update" and (before[-1:] == ["for"] or before[-3:] == ["for", "no", "key"]))


def _unknown_calls(tokens: list[Token]) -> frozenset[str]:
    return frozenset(
        token.word
        for i, token in enumerate(tokens)
        if token.called and not _is_known(token, tokens[i - 1] if i else None)
    )


def _is_known(token: Token, before: Token | None) -> bool:
    behind = before.word if before is not None and not before.quoted else ""
    if token.qualified:
        return behind == "pg_catalog" and token.word in PURE_FUNCTIONS
    if not token.word or token.is_type or behind in ("as", "with", "recursive"):
        return True  # a placeholder, a type, or a name that is given
    return token.word in PURE_FUNCTIONS or (not token.quoted and (token.word in SYNTAX or token.word.startswith("st_")))


def _targets(tokens: list[Token], verb: str) -> frozenset[str]:
    """The table that is written to where it is certainly the only one; else every word."""
    start = _target(tokens, verb)
    names = tokens[start : start + 1] if start else []
    for token in tokens[start + 1 : start + 3]:
        if not token.qualified:
            break
        names.append(token)
    after = tokens[start + len(names) : start + len(names) + 1]
    sole = verb in ("insert", "replace") or not after or (after[0].word in _AFTER_A_SOLE_TABLE and not after[0].quoted)
    return frozenset(token.word for token in (names if names and sole else tokens))


def _target(tokens: list[Token], verb: str) -> int:
    """Where the name of the table stands; 0 where that is not plain."""
    modifying = [i for i in range(1, len(tokens)) if _modifies(tokens, i)]
    if verb == "update" and not modifying:
        return 1
    if verb == "delete" and not modifying and len(tokens) > 1 and tokens[1].word == "from":
        return 2
    if verb in ("insert", "replace") and len(modifying) == 1 and tokens[modifying[0]].word == "into":
        return modifying[0] + 1
    return 0


def _names_what_it_reads(tokens: list[Token]) -> bool:
    return any(not token.quoted and (token.word == "from" or token.word in _MODIFYING) for token in tokens)


def _explain(tokens: list[Token], text: str, vendor: str) -> Statement:
    if not any(token.word in ("analyze", "analyse") for token in tokens):
        return READ
    verbs = _MODIFYING | _QUERIES | {"execute", "create", "declare", "call", "refresh"}
    start = next((i for i, token in enumerate(tokens) if i and token.word in verbs and not token.quoted), None)
    return Statement(writes=True) if start is None else _one(tokens[start:], text, vendor)


def _pragma(tokens: list[Token]) -> Statement:
    named = tokens[2] if len(tokens) > 2 and tokens[2].qualified else tokens[1] if len(tokens) > 1 else tokens[0]
    if named.word == "read_uncommitted":
        return Statement(unsettles=True, uncommitted=True)
    return READ if named.word in PRAGMAS else Statement(writes=True, tables=frozenset(each.word for each in tokens))


def _set(tokens: list[Token], words: list[str]) -> Statement:
    everything = {token.word for token in tokens}
    if words[1:2] == ["autocommit"] or "autocommit" in everything:
        return Statement(unsettles=True, commits=True, uncertain=True)
    calls = _unknown_calls(tokens)
    if words[:2] in (["set", "statement"], ["set", "password"]):
        return Statement(writes=True, tables=frozenset(everything), commits=True)
    if "snapshot" in everything:
        return Statement(unsettles=True, writes=True)  # another transaction's, which began nobody knows when
    if ISOLATION.isdisjoint(everything) and words[:2] != ["reset", "all"]:
        return Statement(writes=bool(calls), calls=calls)
    if not everything - ACCESS:
        return READ
    known = "serializable" in words or {"repeatable", "read"} <= everything or {"read", "committed"} <= everything
    return Statement(unsettles=True, uncommitted=not known or "uncommitted" in everything, writes=bool(calls))
