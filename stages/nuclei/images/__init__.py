"""What an image file holds, and the tables that list the images of a data set.

May import: base.
"""
