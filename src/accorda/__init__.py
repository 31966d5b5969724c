"""accorda tunes language models and proves what it did.

Every public name loads on first use: `import accorda` alone does not import torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
