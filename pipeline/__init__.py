"""From raw digits to a registered, packaged champion: one module per stage of `dvc.yaml`, plus what they share."""
