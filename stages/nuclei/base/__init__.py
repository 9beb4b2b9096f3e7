"""Errors, files, parameters, progress, parallel work: what every room needs.

May import: nothing of ours.
"""
