"""What a result is worth: estimates with 95 % intervals."""
