"""Other servers with the same model, for benchmarks/serving.py. They run in .venv/benchmarks."""
