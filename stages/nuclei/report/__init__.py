"""Tables, figures and the page of one run.

May import: base, images, scores, pictures.
"""
