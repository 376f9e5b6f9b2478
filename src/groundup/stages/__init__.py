"""One file a verb of the command; each reads as a recipe. ``building`` and ``loading`` hold the steps they share."""
