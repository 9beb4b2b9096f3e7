"""Score the files of a prediction, and write metrics, tables and curves with their confidence intervals.

May import: base, images, scores.
"""
