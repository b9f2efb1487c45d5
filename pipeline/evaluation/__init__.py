"""Evaluation of models: metrics, calibration, robustness, out-of-distribution detection, model selection."""
