"""Running it elsewhere: the service, its container image, scheduled retraining, backups."""
