"""What segmenting the images of a user needs beyond the network.

May import: base, images, scores, network, pictures.
"""
