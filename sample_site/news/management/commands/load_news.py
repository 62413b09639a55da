"""`manage.py load_news`: fill the newsroom."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from news.loading import load_news


class Command(BaseCommand):
    """Load the reference data and an edition of generated articles."""

    help = (
        "Loads countries, languages and an edition of articles; the same seed, the same edition. Keeps what is there."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--articles", type=int, default=300, help="how many articles (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="which edition (default: %(default)s)")

    def handle(self, *_: Any, articles: int, seed: int, verbosity: int, **__: Any) -> None:
        added = load_news(articles, seed)
        if verbosity:
            self.stdout.write("Added " + ", ".join(f"{count} {table}" for table, count in added.items()) + ".")
