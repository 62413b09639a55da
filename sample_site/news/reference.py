"""The reference tables' rows, from the ISO lists that pycountry carries."""

from __future__ import annotations

import gettext

import pycountry

from news.models import Country, Language


def countries() -> list[Country]:
    """Every country and territory of ISO 3166-1."""
    return [
        Country(
            code=country.alpha_2,
            alpha_3=country.alpha_3,
            numeric=country.numeric,
            name=getattr(country, "common_name", country.name),
            official_name=getattr(country, "official_name", ""),
        )
        for country in pycountry.countries
    ]


def languages() -> list[Language]:
    """The languages that have a two-letter code."""
    return [
        Language(code=language.alpha_2, alpha_3=language.alpha_3, name=language.name)
        for language in pycountry.languages
        if hasattr(language, "alpha_2")
    ]


def country_name(code: str, language: str) -> str:
    """A country's name as a headline in that language spells it."""
    country = pycountry.countries.get(alpha_2=code)
    if country is None:
        raise LookupError(f"{code} is not a country of ISO 3166-1")
    name = str(getattr(country, "common_name", country.name))
    return gettext.translation("iso3166-1", pycountry.LOCALES_DIR, [language], fallback=True).gettext(name)
