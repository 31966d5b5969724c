"""The command line: one file per verb; the file's name is the verb, its first line the help."""
