"""How good a model is: metrics, calibration, robustness, out-of-distribution detection, model selection."""
