"""A conversation with a model: what was said, who answers, and what a user can do with both. No terminal here."""
