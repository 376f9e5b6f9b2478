"""Classical models that stand beside every result."""
