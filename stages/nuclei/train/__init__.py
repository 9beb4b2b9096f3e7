"""Crops, augmentation, losses, the training loop, checkpoints, and the search for thresholds.

May import: base, images, scores, network.
"""
