"""Hugging Face models as this package sees them: loading, roles of modules, attention, heads."""
