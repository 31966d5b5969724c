"""Number formats for frozen weights, one file per format."""
