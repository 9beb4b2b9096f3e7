"""Drawings over images: contours, montages, errors.

May import: base, images, scores.
"""
