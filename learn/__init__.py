"""Teaching material: neural networks in NumPy, the mathematics behind them, and a course."""
