"""Where a data set comes from: the synthetic sample, a download, or the user's own files.

May import: base, simulate.
"""
