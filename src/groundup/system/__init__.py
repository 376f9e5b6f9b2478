"""The machine and the operating system: files written whole, streams, signals, hardware. Knows nothing of language models."""
