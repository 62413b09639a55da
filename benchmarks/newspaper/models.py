"""Three tables of a newspaper."""

from __future__ import annotations

from django.db import models


class Category(models.Model):
    """A section of the paper."""

    name = models.CharField(max_length=60)


class Author(models.Model):
    """Whoever wrote an article."""

    name = models.CharField(max_length=100)
    email = models.EmailField()


class Article(models.Model):
    """One story."""

    title = models.CharField(max_length=200)
    slug = models.SlugField(max_length=200, unique=True)
    body = models.TextField()
    category = models.ForeignKey(Category, models.PROTECT)
    author = models.ForeignKey(Author, models.PROTECT)
    views = models.PositiveIntegerField()
    published = models.DateTimeField()

    class Meta:
        ordering = ["-published", "-pk"]
        indexes = [models.Index(fields=["category", "-published"], name="by_category")]
