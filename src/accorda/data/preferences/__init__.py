"""Rows in which people compared answers: pairs, rankings, thumbs. For stages reward and preference."""
