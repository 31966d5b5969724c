"""Serving: a tuned model answers people. So far in conversations; see `serving.chat`."""
