"""Number formats for frozen weights, one file per format; `formats()` finds them by walking this folder."""

from accorda.quantization.contract import Format, QuantizedLinear, QuantizedTensor
from accorda.quantization.convert import (
    block_linears,
    declared_format,
    dequantize_model,
    errors_of,
    format_of,
    formats,
    held_as,
    number_format,
    quantize_model,
    replace,
)

__all__ = [
    "Format",
    "QuantizedLinear",
    "QuantizedTensor",
    "block_linears",
    "declared_format",
    "dequantize_model",
    "errors_of",
    "format_of",
    "formats",
    "held_as",
    "number_format",
    "quantize_model",
    "replace",
]
