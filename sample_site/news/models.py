"""The newsroom's tables: two of reference data, which change with a deploy, and four that the editors write."""

from __future__ import annotations

from django.db import models
from django.urls import reverse
from django.utils import timezone


class Country(models.Model):
    """A country or territory of ISO 3166-1."""

    code = models.CharField("ISO 3166-1 code", max_length=2, primary_key=True)
    alpha_3 = models.CharField("three-letter code", max_length=3, unique=True)
    numeric = models.CharField("numeric code", max_length=3)
    name = models.CharField(max_length=100)
    official_name = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "countries"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("news:country", args=[self.code])


class Language(models.Model):
    """A language that has a two-letter code in ISO 639-1."""

    code = models.CharField("ISO 639-1 code", max_length=2, primary_key=True)
    alpha_3 = models.CharField("ISO 639-3 code", max_length=3, unique=True)
    name = models.CharField(max_length=100)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Category(models.Model):
    """A section of the paper."""

    name = models.CharField(max_length=60)
    slug = models.SlugField(max_length=60, unique=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("news:category", args=[self.slug])


class Tag(models.Model):
    """A subject that articles of any category may share."""

    name = models.CharField(max_length=60)
    slug = models.SlugField(max_length=60, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("news:tag", args=[self.slug])


class Author(models.Model):
    """A correspondent, and the country they report from."""

    name = models.CharField("byline", max_length=100, unique=True)
    country = models.ForeignKey(Country, on_delete=models.PROTECT, related_name="authors")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Article(models.Model):
    """One story."""

    title = models.CharField(max_length=200)
    slug = models.SlugField(max_length=200, unique=True)
    body = models.TextField(blank=True)
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="articles")
    author = models.ForeignKey(Author, on_delete=models.PROTECT, related_name="articles")
    language = models.ForeignKey(Language, on_delete=models.PROTECT, related_name="articles")
    tags = models.ManyToManyField(Tag, blank=True, related_name="articles")
    published = models.DateTimeField(default=timezone.now)
    revision = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        ordering = ["-published", "-pk"]
        indexes = [
            models.Index(fields=["-published"], name="article_by_date"),
            models.Index(fields=["category", "-published"], name="article_by_category"),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("news:article", args=[self.slug])
