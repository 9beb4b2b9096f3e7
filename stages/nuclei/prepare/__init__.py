"""Reading archives of images and annotations, and writing one image and one label map for each sample.

May import: base, images.
"""
