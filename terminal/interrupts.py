"""Turn Ctrl-C and SIGTERM into a clean end of the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from types import FrameType

from terminal.screen import say_at_once


class Interrupts:
    """Count interrupts: the first ends the run cleanly, the second kills it.

    A clean end shuts engines down, pools what is forecast and marks the run; it takes seconds.
    """

    def __init__(self) -> None:
        self.count = 0

    def came(self) -> bool:
        """Return whether the user asked to stop."""
        return self.count > 0

    def install(self) -> None:
        """Handle both signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt once, then exit at once: SQLite needs no clean-up."""
        self.count += 1
        if self.count == 1:
            say_at_once("\nstopping; press Ctrl-C again to end at once\n")
            raise KeyboardInterrupt
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(130)
