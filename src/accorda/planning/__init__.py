"""What a run will need: its memory bill."""
