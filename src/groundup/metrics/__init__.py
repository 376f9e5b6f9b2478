"""What a result is worth: estimates with 95 % intervals, and how it is shown."""
