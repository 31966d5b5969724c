"""The run folder: layout, files, event log, environment, card, report, lineage. Reads without torch."""
