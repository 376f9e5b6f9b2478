"""Finished runs behind HTTP: a queue and one thread for the models, JSON in the words of ``predict``, a page."""
