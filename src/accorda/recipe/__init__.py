"""The strict reader for any frozen dataclass, and the recipe: the sections of a run that need no torch."""
