"""The shapes such rows come in; the folder is the registry."""
