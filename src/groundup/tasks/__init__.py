"""LightningModules: a model, a loss, its metrics and how it predicts. One file a task."""
