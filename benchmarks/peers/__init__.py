"""Other servers with the same model, for benchmarks/serving.py; they run in .venv/benchmarks."""
