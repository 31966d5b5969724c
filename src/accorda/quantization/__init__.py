"""Number formats for frozen weights, one file per format; `formats()` finds them by walking this folder."""

from accorda.quantization.contract import Format, QuantizedLinear, QuantizedTensor
from accorda.quantization.convert import formats, quantize_model

__all__ = ["Format", "QuantizedLinear", "QuantizedTensor", "formats", "quantize_model"]
