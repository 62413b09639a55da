"""Random querysets and random writes: where a result changes, the write meets one of its dependencies."""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.db.models import Count, Exists, Max, OuterRef, Q
from news.models import Article, Author, Category, Country, Language, Tag

from cachepolicy import allow_writes
from cachepolicy.runtime import invalidations
from cachepolicy.runtime.conditions import digest
from cachepolicy.runtime.dependencies import dnfs
from cachepolicy.runtime.folding import folded

pytestmark = pytest.mark.django_db(transaction=True)

SEEDS = range(2)

TEXTS = ["a", "A", "b", "é", "E", "ss", "ß", "1", "1.0"]
# Lookups of each model, with what they are compared to.
LOOKUPS: dict[Any, list[tuple[str, list[Any]]]] = {
    Article: [
        ("pk", [1, 2, 3]), ("title", TEXTS), ("title__in", [["a", "b"], ["E", "1"]]), ("category", [1, 2]),
        ("category__name", TEXTS), ("author__country__code", ["FR", "DE"]), ("tags__name", TEXTS), ("tags", [1, 2]),
        ("tags__isnull", [True, False]), ("revision", [1, 2]), ("revision__gt", [1]),
        ("author__articles__title", TEXTS),
    ],
    Category: [
        ("name", TEXTS), ("articles__title", TEXTS), ("articles__isnull", [True, False]), ("articles", [1, 2]),
        ("articles__tags__name", TEXTS), ("articles__author__name", TEXTS), ("pk__in", [[1, 2], []]),
    ],
    Tag: [("name", TEXTS), ("articles__category__name", TEXTS), ("articles__author", [1, 2]), ("articles", [1, None])],
    Author: [("name", TEXTS), ("country", ["FR", "DE"]), ("articles__revision", [1, 2]),
        ("articles__tags__isnull", [True])],
}  # fmt: skip
RELATED = {Article: ["category", "author__country"], Author: ["country"], Category: [], Tag: []}
ORDERS = {
    Article: ["category__name", "author__name", "title"], Author: ["country__name", "-name"],
    Category: ["articles__title", "name"], Tag: ["articles__title", "name"],
}  # fmt: skip


def a_condition(chance: random.Random, model: Any, depth: int = 2) -> Q:
    if depth and chance.random() < 0.5:
        one, other = (a_condition(chance, model, depth - 1) for _ in range(2))
        found = one | other if chance.random() < 0.5 else one & other
        return ~found if chance.random() < 0.2 else found
    lookup, values = chance.choice(LOOKUPS[model])
    value = chance.choice(values)
    found = Q(**{f"{lookup}__isnull": True}) if value is None else Q(**{lookup: value})
    return ~found if chance.random() < 0.2 else found


def a_queryset(chance: random.Random) -> Any:
    model = chance.choice(list(LOOKUPS))
    queryset = model.objects.order_by("pk").nocache()
    for _ in range(chance.randint(0, 2)):
        queryset = queryset.filter(a_condition(chance, model))
    if RELATED[model] and chance.random() < 0.3:
        queryset = queryset.select_related(chance.choice(RELATED[model]))
    if chance.random() < 0.2:
        queryset = queryset.order_by(chance.choice(ORDERS[model]), "pk")
    if model is Category and chance.random() < 0.3:
        queryset = queryset.annotate(n=Count("articles__tags"), m=Max("articles__title"))
    if model is Tag and chance.random() < 0.3:
        queryset = queryset.filter(Exists(Article.objects.filter(tags=OuterRef("pk"), title=chance.choice(TEXTS))))
    if model is not Article and chance.random() < 0.2:
        queryset = queryset.filter(articles__in=Article.objects.filter(a_condition(chance, Article, 1)))
    if chance.random() < 0.2:
        queryset = queryset[: chance.randint(1, 3)]
    return queryset


def rows_of(queryset: Any) -> list[Any]:
    def told(row: Any) -> dict[str, Any]:
        held = {name: value for name, value in row.__dict__.items() if name != "_state"}
        return held | {name: told(each) for name, each in row._state.fields_cache.items() if each is not None}

    return [told(row) for row in queryset.all()]


def a_write(chance: random.Random) -> None:
    article = chance.choice(list(Article.objects.nocache())[:4])  # type: ignore[attr-defined]
    match chance.randint(0, 6):
        case 0 | 1:
            article.title, article.revision = chance.choice(TEXTS), chance.randint(1, 2)
            article.save()
        case 2:
            article.category = chance.choice(list(Category.objects.nocache()))  # type: ignore[attr-defined]
            article.author = chance.choice(list(Author.objects.nocache()))  # type: ignore[attr-defined]
            article.save()
        case 3:
            tag = chance.choice(list(Tag.objects.nocache()))  # type: ignore[attr-defined]
            chance.choice([article.tags.add, article.tags.remove])(tag)
        case 4:
            row = chance.choice(list(chance.choice([Category, Tag, Author]).objects.nocache()))  # type: ignore[attr-defined]
            taken = type(row).objects.nocache().values_list("name", flat=True)  # type: ignore[attr-defined]
            # A case-insensitive database has Author.name unique in its own way.
            free = [text for text in TEXTS if folded(text) not in set(map(folded, taken))]
            row.name = chance.choice(free or [row.name])
            row.save()
        case 5 if Article.objects.nocache().count() > 4:  # type: ignore[attr-defined]
            article.delete()
        case _:
            article.pk, article.slug = None, f"slug-{chance.random()}"
            article._state.adding = True
            article.title = chance.choice(TEXTS)
            article.save()


def meets(item: Any, dependencies: dict[str, list[dict[str, Any]]]) -> bool:
    if item.table not in dependencies:
        return False
    if item.fields is None:
        return True
    fields = dict(item.fields)
    return any(
        all(fields.get(field) == digest(field, value) for field, value in conjunction.items())
        for conjunction in dependencies[item.table]
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_what_changes_a_result_meets_a_dependency_of_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    with allow_writes():
        countries = [Country.objects.create(code=code, alpha_3=code, name=code) for code in ("FR", "DE")]
        language = Language.objects.create(code="fr", alpha_3="fra", name="French")
    authors = [Author.objects.create(name=name, country=country) for name, country in zip("ab", countries, strict=True)]
    categories = [Category.objects.create(name=name, slug=name) for name in "ab"]
    tags = [Tag.objects.create(name=name, slug=name) for name in "ab"]
    for number in range(4):
        row = {"category": chance.choice(categories), "author": chance.choice(authors), "language": language}
        Article.objects.create(title=chance.choice(TEXTS), slug=str(number), **row).tags.add(chance.choice(tags))
    written: list[Any] = []
    monkeypatch.setattr(invalidations, "_take", written.extend)
    changed = spared = 0
    for _ in range(150):
        asked = [a_queryset(chance) for _ in range(12)]
        before = [(dnfs(queryset), rows_of(queryset)) for queryset in asked]
        written.clear()
        a_write(chance)
        for queryset, (dependencies, rows) in zip(asked, before, strict=True):
            touched = any(meets(item, dependencies) for item in written)
            if rows_of(queryset) != rows:
                changed += 1
                assert touched, (str(queryset.query), dependencies, written)
            elif not touched:
                spared += 1
    assert changed > 50
    assert spared > 300, "a dependency on everything would be met by everything"
