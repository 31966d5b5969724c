"""One optimizer per file: a frozen dataclass of its settings that builds it. The folder is the registry."""
