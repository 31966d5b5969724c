"""The parts of a run's report, one per file: each makes HTML of a `Story`, nothing where there is nothing to show."""
