"""What crosses the border: weights, settings and vocabularies of models in the formats of others."""
