"""What a stage shows of itself while it works: a bar on a terminal, a plain line now and then elsewhere.

A room of its own because every stage shows itself in the same way, and because tqdm would slow the start of ``logger.py``.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self, TypeVar

from tqdm import tqdm

from terminal.library_output import listen_to_libraries
from terminal.screen import console
from terminal.text import visible_line

log = logging.getLogger(__name__)
Item = TypeVar("Item")

# Seconds between two plain lines of a stage: a run of hours leaves some hundred lines, a short stage none.
PLAIN_SECONDS = 30.0
# Seconds between two looks at the clock of a stage of unknown length, on a terminal.
TICK_SECONDS = 1.0
BAR: Final = "{desc}: {percentage:3.0f}%|{bar}| {whole}/{total_fmt} [{elapsed}<{remaining}, {pace}]"
LINE: Final = (
    "{desc}: {percentage:.0f} %, {whole} of {total_fmt} in {elapsed}, {remaining} left, {pace}"
)
# How a library's own bar looks in its output: what it does, how far it is, and how long it still takes.
LIBRARY_BAR: Final = re.compile(
    r"(?P<what>[^:|]+):\s+\d+%.*?\s(?P<done>\d+/\d+) \[[\d:]+<(?P<left>[\d:]+)"
)


class Bar(tqdm):
    """A bar on a terminal; fractions of a piece of work move it and are not shown."""

    # No watching thread: it only serves bars that skip updates.
    monitor_interval = 0

    @property
    def format_dict(self) -> dict[str, Any]:
        """tqdm's values, and the number of whole pieces."""
        values: dict[str, Any] = super().format_dict
        rate = values["rate"] or values["n"] / max(1e-6, values["elapsed"])
        return {**values, **_shown_values(values["n"], rate, values["unit"])}


def _shown_values(n: float, rate: float, unit: str) -> dict[str, Any]:
    """Whole pieces done, and the rate (pieces a second) as a reader would say it."""
    pace = f"{rate:.1f} {unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}" if rate else "?"
    return {"whole": int(n + 1e-9), "pace": pace}


class Lines:
    """A line every ``PLAIN_SECONDS`` in place of a bar."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.n = 0.0
        self.started = self.said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, n: float = 1) -> None:
        """Count ``n`` more pieces, and say how far it is when that is due."""
        self.n += n
        now = time.monotonic()
        if now - self.said >= PLAIN_SECONDS and self.n < self.total:
            self.said = now
            elapsed = max(1e-6, now - self.started)
            values = _shown_values(self.n, self.n / elapsed, self.unit)
            log.info(
                "%s",
                tqdm.format_meter(
                    self.n, self.total, elapsed, prefix=self.stage, bar_format=LINE, **values
                ),
            )


def progress(stage: str, total: int, unit: str) -> Bar | Lines:
    """A context manager whose ``update(n)`` shows that ``n`` more of ``total`` pieces are done, with rate and time left.

    Args:
        stage: what is done, in a word or two.
        total: number of pieces.
        unit: what a piece is called, in the singular.
    """
    stream, stage = console(), visible_line(stage)
    if not stream.isatty():
        return Lines(stage, total, unit)
    return Bar(
        total=total,
        desc=stage,
        unit=unit,
        bar_format=BAR,
        file=stream,
        leave=False,
        dynamic_ncols=True,
    )


def shown(items: Sequence[Item], stage: str, unit: str) -> Iterator[Item]:
    """``items`` one by one; each counts as done when the next one is asked for."""
    with progress(stage, len(items), unit) as bar:
        for item in items:
            yield item
            bar.update()


@contextlib.contextmanager
def waiting(stage: str) -> Iterator[None]:
    """A stage whose length is not known before: the time it has taken, and how far a library's own bar says it is."""
    stream, stage = console(), visible_line(stage)
    terminal = stream.isatty()
    started = time.monotonic()
    said = ""
    bar = Bar(
        desc=stage,
        bar_format="{desc}: {elapsed}{postfix}",
        file=stream,
        leave=False,
        dynamic_ncols=True,
        disable=not terminal,
    )
    ended = threading.Event()

    def hear(line: str) -> None:
        nonlocal said
        if found := LIBRARY_BAR.match(line):
            # Two words of "Loading safetensors checkpoint shards": a terminal is 80 columns wide.
            said = visible_line(
                f"{' '.join(found['what'].split()[-2:])} {found['done']}, {found['left']} left"
            )
            bar.postfix = said

    def tick() -> None:
        while not ended.wait(TICK_SECONDS if terminal else PLAIN_SECONDS):
            if terminal:
                bar.refresh()
            else:
                log.info("%s: %.0f s%s", stage, time.monotonic() - started, said and f", {said}")

    clock = threading.Thread(target=tick, name="clock", daemon=True)
    with bar, listen_to_libraries(hear):
        clock.start()
        try:
            yield
        finally:
            ended.set()
            clock.join()
