"""Show how far a stage is: a bar on a terminal, a line now and then elsewhere."""

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

# Seconds between two plain lines: a run of hours leaves some hundred lines, a short stage none.
PLAIN_SECONDS = 30.0
# Seconds between two updates of a stage of unknown length, on a terminal.
TICK_SECONDS = 1.0
BAR: Final = "{desc}: {percentage:3.0f}%|{bar}| {whole}/{total_fmt} [{elapsed}<{remaining}, {pace}]"
LINE: Final = (
    "{desc}: {percentage:.0f} %, {whole} of {total_fmt} in {elapsed}, {remaining} left, {pace}"
)
# A library's own bar in its output: what it does, how far it is, and the time left.
LIBRARY_BAR: Final = re.compile(
    r"(?P<what>[^:|]+):\s+\d+%.*?\s(?P<done>\d+/\d+) \[[\d:]+<(?P<left>[\d:]+)"
)


class Bar(tqdm):
    """A bar on a terminal; fractions of a piece of work move it but are not printed."""

    # No watching thread: it only serves bars that skip updates.
    monitor_interval = 0

    @property
    def format_dict(self) -> dict[str, Any]:
        """Return tqdm's values with the number of whole pieces and the pace."""
        values: dict[str, Any] = super().format_dict
        rate = values["rate"] or values["n"] / max(1e-6, values["elapsed"])
        return {**values, **_own_values(values["n"], rate, values["unit"])}


class Lines:
    """A line every ``PLAIN_SECONDS`` in place of a bar."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.n = 0.0
        self.started = self.last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, n: float = 1) -> None:
        """Count ``n`` more pieces, and log a line when one is due."""
        self.n += n
        now = time.monotonic()
        if now - self.last_line < PLAIN_SECONDS or self.n >= self.total:
            return
        self.last_line = now
        elapsed = max(1e-6, now - self.started)
        values = _own_values(self.n, self.n / elapsed, self.unit)
        line = tqdm.format_meter(
            self.n, self.total, elapsed, prefix=self.stage, bar_format=LINE, **values
        )
        log.info("%s", line)


def _own_values(n: float, rate: float, unit: str) -> dict[str, Any]:
    """Count whole pieces, and word the rate (pieces a second) for a reader."""
    pace = f"{rate:.1f} {unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}" if rate else "?"
    return {"whole": int(n + 1e-9), "pace": pace}


def progress(stage: str, total: int, unit: str) -> Bar | Lines:
    """Open a bar (or lines) whose ``update(n)`` counts ``n`` pieces as done.

    ``stage`` says in a word or two what is done; ``unit`` names a piece, in the singular.
    """
    stream, stage = console(), visible_line(stage)
    if not stream.isatty():
        return Lines(stage, total, unit)
    options: dict[str, Any] = {"file": stream, "leave": False, "dynamic_ncols": True}
    return Bar(total=total, desc=stage, unit=unit, bar_format=BAR, **options)


def with_progress(items: Sequence[Item], stage: str, unit: str) -> Iterator[Item]:
    """Yield ``items``; each counts as done when the next one is asked for."""
    with progress(stage, len(items), unit) as bar:
        for item in items:
            yield item
            bar.update()


@contextlib.contextmanager
def waiting(stage: str) -> Iterator[None]:
    """Show the elapsed time of a step of unknown length, and a library's own bar."""
    stream, stage = console(), visible_line(stage)
    terminal = stream.isatty()
    started, state, ended = time.monotonic(), "", threading.Event()
    options: dict[str, Any] = {"file": stream, "leave": False, "dynamic_ncols": True}
    form = "{desc}: {elapsed}{postfix}"
    bar = Bar(desc=stage, bar_format=form, disable=not terminal, **options)

    def hear(line: str) -> None:
        nonlocal state
        if found := LIBRARY_BAR.match(line):
            # Two words of "Loading safetensors checkpoint shards": a terminal is 80 columns wide.
            what = " ".join(found["what"].split()[-2:])
            bar.postfix = state = visible_line(f"{what} {found['done']}, {found['left']} left")

    def tick() -> None:
        while not ended.wait(TICK_SECONDS if terminal else PLAIN_SECONDS):
            if terminal:
                bar.refresh()
            else:
                elapsed = time.monotonic() - started
                log.info("%s: %.0f s%s", stage, elapsed, state and f", {state}")

    clock = threading.Thread(target=tick, name="clock", daemon=True)
    with bar, listen_to_libraries(hear):
        clock.start()
        try:
            yield
        finally:
            ended.set()
            clock.join()
