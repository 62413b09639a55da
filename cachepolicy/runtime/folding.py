"""Texts that some collation finds equal have one folded form.

So have many texts that no collation finds equal, which costs precision and nothing else.

Meant to be as coarse as general_ci, unicode_ci, unicode_520_ci and uca1400_ai_ci of MariaDB, NOCASE and RTRIM of SQLite
and non-deterministic ICU collations: no case, accents, spaces or control characters, ß as one s like ss, kana as
hiragana, every digit as ASCII. Letters beyond Latin, Greek, Cyrillic, kana, Hangul and Han are left out altogether.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["folded", "is_foldable"]

# Compiled by `re` where one is asked for: few processes meet a text beyond ASCII, and each starts.
_LETTERS: Final = r"[\u0430-\u045f\u03b1-\u03b8\u03ba-\u03c9\u3041-\u3096\u4e00-\u9fff\u1100-\u11ff]"
_SMALL_KANA: Final = str.maketrans("ぁぃぅぇぉっゃゅょゎゕゖ", "あいうえおつやゆよわかけ")
_KATAKANA: Final = r"[ァ-ヶ]"
_LATIN: Final = (
    r"(?:.* )?LATIN (?:SMALL |CAPITAL )?LETTER (?:SMALL CAPITAL |SMALL )?"
    r"(?:INSULAR |DOTLESS |LONG |SIGMOID |MIDDLE-WELSH |ANGLICANA )?([A-Z]{1,2})(?: .*)?"
    r"|(?:NEGATIVE )?SQUARED ([A-Z]{2,8})"
)
_NAMED: Final = r"COMBINING (CYRILLIC LETTER .+)|KATAKANA LETTER SMALL (.+)|HIRAGANA LETTER SMALL (.+)"
# Equal to other letters in some collation, in ways that their names do not tell.
_ALONE: Final = {
    "ð": "d", "ґ": "г", "ϗ": "κα", "ƍ": "zw", "ƾ": "ts", "ʩ": "f", "〆": "しめ", "〼": "ます", "ⷵ": "ст", "ᷓ": "a",
    "ꟁ": "a", "ꟃ": "w", "ꞛ": "a", "ꞝ": "o", "ꞟ": "u", "⅍": "a/s", "ꙩ": "о", "ꙫ": "о", "ꙭ": "о", "ꙮ": "о", "ꚙ": "о",
    "ꚛ": "о", "🆠": "5.1", "🆡": "7.1", "🆢": "22.2", "🆣": "60p", "🆤": "120p", "🆝": "2k", "🆞": "4k", "🆟": "8k",
    "🆛": "3d", "🆙": "up!", "🆊": "p", "🆩": "losles", "🆨": "hires", "🆜": "2ndscr",
    "𐞀": "aa", "œ": "oe", "ᷙ": "d", "ʧ": "t", "ʤ": "d", "𝼜": "t", "𝼙": "d", "𝼗": "t", "𝼀": "f",
}  # fmt: skip
_MOST_KEPT: Final = 20_000


def folded(text: str) -> str:
    """The form that equal texts share."""
    return _once(text.lower().translate(_ASCII) if text.isascii() else text.translate(_FOLD))


def is_foldable(text: str) -> bool:
    """Whether every text found equal folds to the same: beyond U+FFFC old collations see but one letter."""
    return max(text, default="") < "\ufffd"


def _once(text: str) -> str:
    # general_ci has ß as s, the others as ss.
    while "ss" in text:
        text = text.replace("ss", "s")
    return text


_ASCII: Final = dict.fromkeys([*range(0x21), 0x7F])


class _Fold(dict[int, str]):
    """Characters folded once each."""

    def __missing__(self, code: int) -> str:
        found = _folded_character(chr(code))
        if len(self) < _MOST_KEPT:
            self[code] = found
        return found


_FOLD: Final = _Fold()


def _folded_character(character: str) -> str:
    parts: list[str] = []
    for part in unicodedata.normalize("NFKD", character):
        is_mark = unicodedata.category(part).startswith("M")  # casefold() makes a letter of the Greek iota below
        parts += unicodedata.normalize("NFKD", part if is_mark else part.casefold())
    return "".join(map(_plain, parts))


def _plain(part: str) -> str:
    if part.isascii():
        return part.lower().translate(_ASCII)
    if part in _ALONE:
        return _ALONE[part]
    if re.match(_LETTERS, part):
        return part.translate(_SMALL_KANA)
    if re.match(_KATAKANA, part):
        return chr(ord(part) - 0x60).translate(_SMALL_KANA)
    name = unicodedata.name(part, "")
    if found := re.fullmatch(_LATIN, name):
        return (found[1] or found[2]).lower()
    if found := re.fullmatch(_NAMED, name):
        return _named(found)
    return _digits(part, name)


def _named(found: re.Match[str]) -> str:
    kana = found[2] or found[3]
    name = f"KATAKANA LETTER {kana}" if kana else found[1].replace("LETTER", "SMALL LETTER", 1)
    try:
        return _folded_character(unicodedata.lookup(name))
    except KeyError:
        return ""


def _digits(part: str, name: str) -> str:
    number = unicodedata.numeric(part, None)
    if number is None or name.startswith("RUNIC"):
        return ""
    if "DIGIT HALF" in name:  # Tibetan: a half below its digit
        return str(round(number + 0.5) % 10)
    if name.startswith("BENGALI CURRENCY NUMERATOR"):
        return str(round(number * 16))
    return str(int(number)) if number == int(number) and 0 <= number < 1000 else ""
