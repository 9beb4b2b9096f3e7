"""Which images go to train, val and test, with near-duplicates kept together.

May import: base, images.
"""
