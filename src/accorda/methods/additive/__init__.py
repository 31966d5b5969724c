"""Methods that add modules or inputs to the base."""
