"""Outcomes, scores, calibration: how good the forecasts were."""
