"""The network, what it is trained to predict, and how its prediction becomes a label map.

May import: base, images.
"""
