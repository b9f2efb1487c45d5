"""Deployment: the service, its container image, scheduled retraining and backups."""
