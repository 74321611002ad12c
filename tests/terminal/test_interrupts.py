"""The first interrupt ends the run cleanly, the second at once (tests/runs has both on a run)."""

from __future__ import annotations

import os
import signal

import pytest

from terminal.interrupts import Interrupts


@pytest.fixture
def interrupts():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    installed = Interrupts()
    installed.install()
    yield installed
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_an_exception_and_the_second_the_end(interrupts, number, monkeypatch, capfd):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    assert not interrupts.came()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert interrupts.came()
    assert capfd.readouterr().err == "\nstopping; press Ctrl-C again to end at once\n"
    assert codes == []
    signal.raise_signal(number)
    assert codes == [130]
