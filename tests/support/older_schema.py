"""Databases of older schemas, made by the first migrations alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from storage import migrations


@contextmanager
def older_schema(version: int) -> Iterator[None]:
    """Let the program know only the first ``version`` migrations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:version])
        patch.setattr(migrations, "SCHEMA_VERSION", version)
        yield


def schema_before(text: str) -> int:
    """Return the schema that the first migration with ``text`` changes."""
    return next(n for n, script in enumerate(migrations.MIGRATIONS) if text in script)
