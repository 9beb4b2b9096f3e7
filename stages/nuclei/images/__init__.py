"""Reading and writing image files, and the tables that list the images of a data set.

May import: base.
"""
