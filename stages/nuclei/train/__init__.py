"""Crops, augmentation, losses, the training loop, checkpoints, and the search for the decision thresholds.

May import: base, images, scores, network, simulate.
"""
