"""Methods that run beside the frozen base."""
