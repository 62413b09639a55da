"""SQL texts in words: comments, literals and quoted names as PostgreSQL, SQLite, and MySQL or MariaDB delimit them."""

from __future__ import annotations

import functools
import re
from typing import Final

__all__ = ["ImpossibleReading", "Token", "UnreadableText", "lexers", "statements_of", "words_of"]


class ImpossibleReading(Exception):
    """Read like this a literal has no end, so the server would refuse the text."""


class UnreadableText(Exception):
    """A text that no tokenizer reads as every server does."""


class Token:
    """A word, in lower case, or a quoted name.

    `called`: a parenthesis follows. `between`: what stands between it and the word before it.
    """

    __slots__ = ("between", "called", "quoted", "word")

    def __init__(self, word: str, quoted: bool, between: str) -> None:
        self.word, self.quoted, self.between = word, quoted, between
        self.called = False

    @property
    def qualified(self) -> bool:
        """Whether it stands behind a dot; in doubt, behind a comment, it does."""
        return "." in self.between and (self.between.rstrip().endswith(".") or "/*" in self.between)

    @property
    def is_type(self) -> bool:
        """Whether it is what a value is cast to, as PostgreSQL writes that."""
        return self.between.rstrip().endswith("::")


# Servers take for white space and signs what is ASCII alone: all beyond are letters, non-breaking spaces as well. Told
# by what they are not, since a class that reaches beyond U+FFFF takes 3 ms to compile.
_SIGNS: Final = r":-@\[-^`{-\x7f"
_LETTER: Final = rf"[^\x00-9{_SIGNS}]"
_LETTER_OR_DIGIT: Final = rf"[^\x00-/{_SIGNS}]"
_LETTER_DIGIT_OR_DOLLAR: Final = rf"[^\x00-#%-/{_SIGNS}]"
_REST: Final = f"{_LETTER_DIGIT_OR_DOLLAR}*"
_COMMON: Final = (
    rf"(?P<word>{_LETTER}{_REST}|\d{_REST})"
    r"|(?P<param>%s(?:[\s,()]*%s)*(?!\w)|%\(\w+\)s(?!\w))"  # as many as bulk_create() writes, in one go
    r"|(?P<open>\()|(?P<semicolon>;)"
)


def _quoted(quote: str, backslash: bool) -> str:
    if backslash:
        return rf"{quote}[^{quote}\\]*(?:(?:{quote}{quote}|\\[\s\S])[^{quote}\\]*)*{quote}"
    return rf"{quote}[^{quote}]*(?:{quote}{quote}[^{quote}]*)*{quote}"


def _postgresql(backslash: bool) -> str:
    tag = rf"(?:{_LETTER}{_LETTER_OR_DIGIT}*)?"
    return "|".join(
        (
            r"(?P<comment>--[^\n\r]*|/\*[^*/]*(?:(?:\*(?!/)|/(?!\*))[^*/]*)*\*/)",
            r"(?P<nested>/\*)",
            rf"(?P<literal>[eE]{_quoted(chr(39), True)}|{_quoted(chr(39), backslash)})",
            rf"(?P<name>{_quoted(chr(34), False)})",
            rf"(?P<dollars>\$(?P<tag>{tag})\$[\s\S]*?\$(?P=tag)\$)",
            rf"(?P<endless>['\"]|\${tag}\$)",
            _COMMON,
        )
    )


def _sqlite() -> str:
    # SQLite takes a literal for a name where only a name can be.
    names = "|".join((*(_quoted(quote, False) for quote in "'\"`"), r"\[[^\]]*\]"))
    return "|".join(
        (r"(?P<comment>--[^\n]*|/\*[\s\S]*?(?:\*/|\Z))", rf"(?P<name>{names})", r"(?P<endless>['\"`\[])", _COMMON)
    )


def _mysql(backslash: bool) -> str:
    return "|".join(
        (
            r"(?P<executed>/\*[mM]?!)",
            r"(?P<comment>--(?=[\x00-\x20]|\Z)[^\n]*|\#[^\n]*|/\*[\s\S]*?(?:\*/|\Z))",
            rf"(?P<literal>{_quoted(chr(39), backslash)})",
            # A literal, or a name under ANSI_QUOTES.
            rf"(?P<name>{_quoted(chr(34), backslash)}|{_quoted('`', False)})",
            r"(?P<endless>['\"`])",
            _COMMON,
        )
    )


_PLAIN: Final = {"postgresql": _postgresql(False), "sqlite": _sqlite(), "mysql": _mysql(True)}
# As a session may be set, where a text has a backslash: standard_conforming_strings = off, NO_BACKSLASH_ESCAPES.
_OTHERWISE: Final = {"postgresql": _postgresql(True), "mysql": _mysql(False)}
_WORDS: Final = re.compile(f"{_LETTER_DIGIT_OR_DOLLAR}+", re.ASCII)


def lexers(vendor: str, text: str) -> list[re.Pattern[str]]:
    """Every way in which a database of this vendor may read the text."""
    vendors = [vendor] if vendor in _PLAIN else list(_PLAIN)
    found = [_compiled(_PLAIN[name]) for name in vendors]
    if "\\" in text:
        found += [_compiled(_OTHERWISE[name]) for name in vendors if name in _OTHERWISE]
    return found


@functools.cache
def _compiled(lexer: str) -> re.Pattern[str]:
    """When the first statement is read, since a process seldom meets more than one vendor."""
    return re.compile(lexer, re.ASCII)


def words_of(text: str) -> frozenset[str]:
    """Whatever may be a name in a text that cannot be read."""
    return frozenset(word.lower() for word in _WORDS.findall(text))


def statements_of(text: str, lexer: re.Pattern[str]) -> list[list[Token]]:
    """The tokens of each statement; literals and numbers without letters leave none, a placeholder a nameless one."""
    if "\0" in text:
        raise UnreadableText("some servers take it for the end")
    tokens: list[Token] = []
    statements = [tokens]
    end = 0
    commented = False  # since the last word
    for match in lexer.finditer(text):
        kind = match.lastgroup
        if kind == "word":
            tokens.append(Token(match[0].lower(), False, text[end : match.start()]))
        elif kind == "name":
            name = match[0]
            tokens.append(Token(name[1:-1].replace(name[-1] * 2, name[-1]).lower(), True, text[end : match.start()]))
        elif kind == "param":
            tokens.append(Token("", True, ""))
        elif kind == "open":
            if tokens and (commented or not text[end : match.start()].strip()):
                tokens[-1].called = True
            commented = False
            continue
        elif kind == "comment":
            commented = True
            continue
        elif kind == "semicolon":
            tokens = []
            statements.append(tokens)
        elif kind == "nested":
            return statements_of(_without_nested(text, match.start()), lexer)
        elif kind == "endless":
            raise ImpossibleReading
        elif kind == "executed":
            raise UnreadableText("what is executed depends on the server's version")
        elif not tokens:
            tokens.append(Token("", True, ""))  # no statement begins with a literal
        end = match.end()
        commented = False
    return [tokens for tokens in statements if tokens]


def _without_nested(text: str, start: int) -> str:
    """The text without PostgreSQL's comment at `start`, which holds further ones."""
    depth = 0
    for match in re.finditer(r"/\*|\*/", text[start:]):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return f"{text[:start]} {text[start + match.end() :]}"
    raise ImpossibleReading
