"""Language models from the ground up: pretrain, fine-tune, evaluate and understand every line."""

__version__ = "0.1.0"
