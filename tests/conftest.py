"""What every test shares: one thread, no network, and the folder of real models and data where there is one."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch

torch.set_num_threads(1)  # tiny models are many times slower with more

SHARED = Path(os.environ.get("ACCORDA_SHARED") or Path(__file__).resolve().parents[2] / "shared")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real models and data beside the checkout."""
    if not (SHARED / "models").is_dir():
        pytest.skip(f"no folder with real models and data at {SHARED} (set ACCORDA_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def stories(shared: Path) -> Path:
    """A real pretrained decoder of 260,032 parameters."""
    return shared / "models" / "stories260K"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests skip where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
