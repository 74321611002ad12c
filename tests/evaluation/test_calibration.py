"""The verdict on calibrated forecasts is about their scores beside the raw ones."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import calibration
from evaluation.calibration import Comparison
from evaluation.reliability import expected_calibration_error


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (-0.02, -0.01, "better"),  # calibrated minus raw: less error
        (0.01, 0.02, "worse"),
        (-0.01, 0.01, "no clear difference"),
        (-0.01, 0.0, "no clear difference"),
        (0.0, 0.01, "no clear difference"),
        (float("nan"), float("nan"), "too few clusters to say"),
    ],
)
def test_verdict(low, high, word):
    assert calibration.verdict(low, high) == word


def test_the_verdict_is_about_the_calibrated_scores():
    """Known forecasts: the calibrated ones are better by far, and with the two exchanged worse by far."""
    g = np.random.default_rng(0)
    truth = g.uniform(0.1, 0.9, 400)
    y = (g.random(400) < truth).astype(float)
    off = np.clip(1 - truth, 0.02, 0.98)
    brier, log, ece = Comparison(y, range(400), off, truth).lines()
    assert brier.endswith(": better")
    assert log.endswith(": better")
    gain = ((truth - y) ** 2 - (off - y) ** 2).mean()
    assert f"difference {gain:+.4f} (" in brier
    assert f"Brier raw {((off - y) ** 2).mean():.4f} (95 %: " in brier
    assert ece.startswith(f"  ECE raw {expected_calibration_error(off, y):.3f} (a calibrated")
    brier, log, _ = Comparison(y, range(400), truth, off).lines()
    assert brier.endswith(": worse")
    assert log.endswith(": worse")
    same = Comparison(y, range(400), truth, np.clip(truth + g.normal(0, 0.01, 400), 0, 1)).lines()
    assert same[0].endswith(": no clear difference")
