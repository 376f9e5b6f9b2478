"""Weights, settings and vocabularies of models, read from the formats of other libraries and written in them."""
