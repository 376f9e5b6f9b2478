"""Around Hydra: composing a configuration, checking it, building objects from it, and answering mistakes."""
