"""Pure functions of tensors: what a model is trained to do. Nothing here knows models, methods or data."""
