"""The World Factbook, read once in each process of the tests."""

from __future__ import annotations

from functools import cache

from evidence.factbook import factbook_articles
from storage.articles import Article


@cache
def countries() -> tuple[tuple[Article, list[tuple[str, str]]], ...]:
    """Every country's article with its sections, in the package's order; 2 s."""
    return tuple(factbook_articles())
