"""From a dataset to an exported model: architectures, augmentation, the training loop, searches over parameters."""
