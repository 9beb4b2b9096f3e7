"""Where a data set comes from: the synthetic sample, downloads, and the files of the user.

May import: base.
"""
