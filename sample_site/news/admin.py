"""The editors' desk. cacheops turns its cache off in the admin, so joins are fine here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from news.models import Article, Author, Category, Country, Language, Tag

if TYPE_CHECKING:
    from django.forms import ModelForm

    CountryOptions = admin.ModelAdmin[Country]
    LanguageOptions = admin.ModelAdmin[Language]
    CategoryOptions = admin.ModelAdmin[Category]
    TagOptions = admin.ModelAdmin[Tag]
    AuthorOptions = admin.ModelAdmin[Author]
    ArticleOptions = admin.ModelAdmin[Article]
else:  # Django's ModelAdmin takes no type argument when the program runs.
    CountryOptions = LanguageOptions = CategoryOptions = TagOptions = AuthorOptions = ArticleOptions = admin.ModelAdmin


class ReadOnly:
    """Reference data may be looked at; a form would only lead to a refused write."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Country)
class CountryAdmin(ReadOnly, CountryOptions):
    """Countries, to look at."""

    list_display = ["name", "code", "alpha_3", "numeric", "official_name"]
    search_fields = ["name", "official_name", "code"]


@admin.register(Language)
class LanguageAdmin(ReadOnly, LanguageOptions):
    """Languages, to look at."""

    list_display = ["name", "code", "alpha_3"]
    search_fields = ["name", "code"]


@admin.register(Category)
class CategoryAdmin(CategoryOptions):
    """Categories."""

    list_display = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}


@admin.register(Tag)
class TagAdmin(TagOptions):
    """Tags."""

    list_display = ["name", "slug"]
    search_fields = ["name"]
    prepopulated_fields = {"slug": ["name"]}


@admin.register(Author)
class AuthorAdmin(AuthorOptions):
    """Correspondents."""

    list_display = ["name", "country"]
    list_filter = [("country", admin.RelatedOnlyFieldListFilter)]
    search_fields = ["name"]
    autocomplete_fields = ["country"]


@admin.register(Article)
class ArticleAdmin(ArticleOptions):
    """Articles; every saved change counts as a revision."""

    list_display = ["title", "category", "author", "language", "published", "revision"]
    list_filter = ["category", ("language", admin.RelatedOnlyFieldListFilter), "published"]
    list_select_related = ["category", "author", "language"]
    search_fields = ["title", "body"]
    autocomplete_fields = ["author", "language", "tags"]
    prepopulated_fields = {"slug": ["title"]}

    def save_model(self, request: HttpRequest, obj: Article, form: ModelForm[Article], change: bool) -> None:
        if change:
            obj.revision += 1
        super().save_model(request, obj, form, change)
