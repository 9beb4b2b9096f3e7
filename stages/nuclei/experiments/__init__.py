"""Several runs side by side: comparison, ablation, repeats.

May import: base, evaluate, report.
"""
