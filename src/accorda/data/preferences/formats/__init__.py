"""The shapes that comparisons come in, one per file; the folder is the registry."""
