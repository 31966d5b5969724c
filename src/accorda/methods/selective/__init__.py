"""Methods that train some of the base's own parameters."""
