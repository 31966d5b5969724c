"""Every kernel against the reference."""

import logging
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from accorda.quantization import kernels
from accorda.quantization.kernels import chosen, using
from accorda.quantization.kernels.bitsandbytes import BitsAndBytes
from accorda.quantization.kernels.reference import Reference
from accorda.quantization.kernels.table import NF4
from accorda.quantization.kernels.triton import Triton
from accorda.quantization.nf4 import NF4Linear, quantize_nf4

SHAPES = ((3, 5), (7, 65), (64, 96), (80, 128), (33, 320))
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float16: 0.01}
CASES = [(shape, dtype, double) for shape in SHAPES for dtype in DTYPES for double in (True, False)]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compare(name: str, device: str = "cpu") -> None:
    """Dequantized values bit for bit; both products, for few rows and many, within rounding."""
    kernel, reference = kernels.kernels()[name], kernels.kernels()["reference"]
    assert kernel.runs_on(torch.device(device))
    for shape, dtype, double in CASES:
        weight = quantize_nf4(random(*shape).to(device), double=double)
        expected = reference.dequantize(weight, dtype)
        found = kernel.dequantize(weight, dtype)
        if (name, device, dtype) == ("triton", "cpu", torch.bfloat16):
            torch.testing.assert_close(found, expected, rtol=2**-7, atol=0)  # interpreted, it cuts digits off
            continue  # and has no products in bfloat16
        assert torch.equal(found, expected), (shape, dtype, double)
        for rows in (1, 21, 70):
            x, g = random(rows, shape[1], seed=1), random(rows, shape[0], seed=2)
            x, g = x.to(device, dtype), g.to(device, dtype)
            there, back = kernel.matmul(x[None], weight)[0], kernel.matmul_back(g[None], weight)[0]
            for got, wanted in ((there, x @ expected.T), (back, g @ expected)):
                assert got.dtype == dtype
                scale = float(wanted.float().abs().max())
                torch.testing.assert_close(got.float(), wanted.float(), atol=CLOSE[dtype] * scale, rtol=0)


def test_the_reference_is_the_formula():
    for shape, dtype, double in CASES:
        weight = quantize_nf4(random(*shape), double=double)
        codes = torch.stack([weight.codes >> 4, weight.codes & 15], dim=1).flatten()[: shape[0] * shape[1]]
        scales = weight.scales().repeat_interleave(64)[: len(codes)]
        naive = (NF4[codes.long()] * scales).view(shape).to(dtype)
        assert torch.equal(kernels.kernels()["reference"].dequantize(weight, dtype), naive)
    compare("reference")


def test_bitsandbytes():
    pytest.importorskip("bitsandbytes")
    compare("bitsandbytes")


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_triton_interpreted():
    """In a process of its own: the variable must be set before triton is imported."""
    code = "from tests.quantization.kernels.test_kernels import compare; compare('triton')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["triton", "bitsandbytes", "reference"])
def test_on_a_gpu(name):
    if not kernels.kernels()[name].runs_on(torch.device("cuda")):
        pytest.skip(f"{name} is not installed")
    compare(name, "cuda")


@pytest.mark.parametrize("installed", [True, False])
def test_the_choice_is_by_what_is_installed_and_logged_once(installed, caplog, monkeypatch):
    monkeypatch.setattr("accorda.quantization.kernels.bitsandbytes.find_spec", lambda name: name if installed else None)
    kernels._first.cache_clear()
    name = "bitsandbytes" if installed else "reference"
    with caplog.at_level(logging.INFO, logger="accorda"):
        assert chosen(torch.device("cpu")).name == name
        chosen(torch.device("cpu"))
    kernels._first.cache_clear()
    assert [record.message for record in caplog.records] == [f"4-bit weights on cpu: kernel {name}"]


class Quick(Reference):
    """Another file's kernel, for CPUs alone."""

    name = "quick"

    def runs_on(self, device):
        return device.type == "cpu"

    def rank(self, device_type):
        return 20


def test_a_kernel_is_chosen_by_its_own_rank(monkeypatch):
    everywhere = {name: kernel for name, kernel in kernels.kernels().items()} | {"quick": Quick()}
    for kernel in (BitsAndBytes, Triton):
        monkeypatch.setattr(kernel, "runs_on", lambda self, device: True)
    monkeypatch.setattr(kernels, "kernels", lambda: everywhere)
    kernels._first.cache_clear()
    assert [chosen(torch.device(kind)).name for kind in ("cpu", "cuda", "xpu")] == ["quick", "triton", "bitsandbytes"]
    kernels._first.cache_clear()


def test_importing_bitsandbytes_says_nothing_and_downloads_nothing(tmp_path):
    pytest.importorskip("bitsandbytes")
    (tmp_path / "kernels.py").write_text("def get_kernel(*_, **__): raise SystemExit('would download')")
    code = "from accorda.quantization.kernels.bitsandbytes import _package; _package()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_one_can_be_asked_for():
    pytest.importorskip("bitsandbytes")
    layer = NF4Linear(quantize_nf4(random(8, 128)))
    with using("bitsandbytes"):
        assert chosen(torch.device("cpu")).name == "bitsandbytes"
        theirs = layer(random(3, 128))
        with using("reference"):
            assert chosen(torch.device("cpu")).name == "reference"
            assert torch.equal(theirs, layer(random(3, 128)))
        assert chosen(torch.device("cpu")).name == "bitsandbytes"
    with pytest.raises(KeyError), using("none"):
        pass


@pytest.mark.parametrize("width", [32, 48, 80, 96, 144])
def test_bitsandbytes_is_left_alone_with_blocks_across_rows(width):
    """Its dequantize for CPUs is wrong there (0.50): the reference is used, and this says when that can end."""
    functional = pytest.importorskip("bitsandbytes").functional
    weight = quantize_nf4(random(40, width), double=False)
    right = kernels.kernels()["reference"].dequantize(weight, torch.float32)
    assert torch.equal(kernels.kernels()["bitsandbytes"].dequantize(weight, torch.float32), right)
    state = functional.QuantState(
        absmax=weight.absmax, shape=weight.shape, code=NF4, blocksize=64, quant_type="nf4", dtype=torch.float32
    )
    theirs = functional.dequantize_4bit(weight.codes, state)
    assert not torch.equal(theirs, right)
    in_one_row = functional.QuantState(
        absmax=weight.absmax, shape=(1, 40 * width), code=NF4, blocksize=64, quant_type="nf4", dtype=torch.float32
    )
    assert torch.equal(functional.dequantize_4bit(weight.codes, in_one_row).view(40, width), right)
