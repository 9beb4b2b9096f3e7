"""Scores of pixels and of instances. NumPy alone: importing this room does not import torch.

May import: nothing of ours.
"""
