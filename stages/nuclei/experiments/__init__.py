"""Several runs beside each other: comparison, ablation, repeats.

May import: base, evaluate, report.
"""
