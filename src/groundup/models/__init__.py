"""Language models on torch primitives: no Lightning, no Hydra, no tokenizers."""
