"""Readers of files, one module a format. ``data/reading.py`` finds them by looking here: a new format is one new file.

A module says what ``reading.Format`` asks for. It imports nothing heavy at its top, because files are looked at before
torch is imported.
"""
