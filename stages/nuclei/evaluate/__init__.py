"""Scores of written predictions, over images and parts, with intervals.

May import: base, images, scores.
"""
