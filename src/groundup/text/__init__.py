"""Text before it is numbers: cleaning, tokenizers and how they are learned."""
