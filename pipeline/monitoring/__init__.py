"""Monitoring: drift of requests and predictions, corrections by users, deletion of stored data."""
