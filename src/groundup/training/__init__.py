"""How a task is trained: parameter groups, optimizers, schedules, callbacks, and the exact resume path."""
