"""Folding is at least as coarse as the collations of real databases."""

from __future__ import annotations

import unicodedata

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from cachepolicy.runtime.folding import folded, is_foldable

COLLATIONS = ["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_unicode_520_ci", "utf8mb4_uca1400_ai_ci"]
_DIGITS = 4  # of one weight, in hex


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Æsir", "AESIR"),
        ("Œuvre", "oeuvre"),
        ("Łódź", "lodz"),
        ("Ørsted", "orsted"),
        ("ﬁn", "FIN"),
        ("ʣ", "dz"),
        ("が", "カ"),
        ("Ёлка", "елка"),
        ("ᾳ", "α"),
        ("a\u00adb", "ab"),
    ],
)
def test_letters_that_collations_equate_fold_alike(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126)), st.text(st.characters(max_codepoint=126)))
def test_ascii_folds_by_case_spaces_and_runs_of_s_alone(one: str, other: str) -> None:
    def plain(text: str) -> str:
        kept = "".join(letter for letter in text.lower() if " " < letter < "\x7f")
        return "".join(letter for at, letter in enumerate(kept) if letter != "s" or kept[at - 1 : at] != "s")

    assert (folded(one) == folded(other)) == (plain(one) == plain(other))


@given(st.text())
def test_text_folds_alike_in_every_normal_form(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert folded(unicodedata.normalize(form, text)) == folded(text)


@given(st.text(), st.text())
def test_folding_goes_letter_by_letter(one: str, other: str) -> None:
    assert folded(folded(one) + folded(other)) == folded(one + other)


def test_letters_that_old_collations_all_see_as_one_are_told() -> None:
    assert is_foldable("plain")
    assert is_foldable("漢字 é")
    assert not is_foldable("smile 😀")


@pytest.mark.django_db
@pytest.mark.parametrize("collation", COLLATIONS)
def test_texts_that_the_database_finds_equal_fold_alike(collation: str) -> None:
    if connection.vendor != "mysql":
        pytest.skip("asks MariaDB for its collations' weights; run with --database mariadb")
    character = "convert(unhex(lpad(hex(seq), 8, '0')) using utf32)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT seq, hex(weight_string(convert({character} using utf8mb4) COLLATE {collation})) "
            f"FROM seq_0_to_65532 WHERE seq NOT BETWEEN 55296 AND 57343"
        )
        weights = {chr(code): weight or "" for code, weight in cursor.fetchall()}
    assert len(weights) > 60_000
    # What each weight folds to, by the characters that have this weight alone.
    alone: dict[str, str] = {}
    for letter, weight in weights.items():
        if len(weight) == _DIGITS and unicodedata.name(letter, ""):
            assert alone.setdefault(weight, folded(letter)) == folded(letter), f"U+{ord(letter):04X} in {collation}"
    for letter, weight in weights.items():
        parts = [weight[at : at + _DIGITS] for at in range(0, len(weight), _DIGITS)]
        if all(part in alone for part in parts):
            assert folded(letter) == folded("".join(alone[part] for part in parts)), f"U+{ord(letter):04X}"
