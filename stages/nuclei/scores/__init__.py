"""Scores of pixels and of instances, from masks, label maps and predicted probabilities. None of it imports torch.

May import: nothing of ours.
"""
