"""Configurations of other tools, read as recipes. A tool is one file of `tools/`: a table of keys, some functions."""
