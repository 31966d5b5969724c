"""One tracker per file: each only tails the run's event log, in a thread of its own. The folder is the registry."""
