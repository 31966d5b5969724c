"""Adapters and models as files. Only this folder knows PEFT's format."""

from accorda.methods.storage.adapter import load_adapter, read_header, save_adapter
from accorda.methods.storage.files import is_adapter
from accorda.methods.storage.model import companions, save_model

__all__ = ["companions", "is_adapter", "load_adapter", "read_header", "save_adapter", "save_model"]
