"""One file a verb of the command; each reads as a recipe. ``build``, ``loading`` and ``evaluation`` hold the steps they share."""
