"""Batches, augmentation and the training run."""
