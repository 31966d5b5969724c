"""How the bundled model and its data are made: `python -m bundled` tells the steps."""
