"""Predictions for a folder of pictures or a Parquet file, without a server."""
