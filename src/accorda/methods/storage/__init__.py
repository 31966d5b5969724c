"""Adapters and models as files. Only this folder knows PEFT's format."""

from accorda.methods.storage.adapter import load_adapter, read_header, save_adapter
from accorda.methods.storage.files import is_adapter

__all__ = ["is_adapter", "load_adapter", "read_header", "save_adapter"]
