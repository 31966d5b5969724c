"""The shapes rows come in, one per file; the folder is the registry."""

from accorda.data.formats.registry import Format, Mapped, choose, formats

__all__ = ["Format", "Mapped", "choose", "formats"]
