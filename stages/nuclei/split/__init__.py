"""The split into train, val and test, with near-duplicates and tiles of one field kept together.

May import: base, images.
"""
