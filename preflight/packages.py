"""Find the packages whose data the demonstration uses."""

from __future__ import annotations

import importlib.util
from pathlib import Path


class PackageError(Exception):
    """Packaged data cannot be used; the message is one line that says what to do."""


def package_folder(module: str, install: str) -> Path:
    """Return a package's folder without importing it (one imports llama.cpp).

    Raises:
        PackageError: it is not installed; ``install`` is what pip is to install.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise PackageError(
            f"the demo needs the package {module}; install it with: pip install --no-deps {install}"
        )
    return Path(next(iter(spec.submodule_search_locations)))
