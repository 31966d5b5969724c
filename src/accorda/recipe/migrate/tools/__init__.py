"""The tools whose configurations are read, one file each; the folder is the registry."""
