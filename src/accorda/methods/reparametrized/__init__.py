"""Methods that write the change of a weight in fewer numbers."""
