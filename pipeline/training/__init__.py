"""Training: architectures, augmentation, the training loop, export, parameter profiles and sweeps."""
