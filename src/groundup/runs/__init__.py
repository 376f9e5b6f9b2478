"""The run folder: everything a run leaves behind, and everything that is needed to use it again."""
