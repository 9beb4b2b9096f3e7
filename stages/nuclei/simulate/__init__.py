"""Synthetic microscope images of nuclei with exact label maps: the built-in sample, and images to mix into training.

May import: nothing of ours.
"""
