"""From a decoder to text: works on any model that keeps a ``DecoderState``."""
