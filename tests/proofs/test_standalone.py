"""verify.py of a run folder, started as its own program where accorda, torch and numpy cannot be imported."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from accorda.proofs import standalone

ALONE = """
import sys, runpy
for name in ("accorda", "torch", "numpy", "transformers"):
    sys.modules[name] = None  # importing it raises
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write_run(folder: Path, dtype=torch.float32) -> Path:
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    path = folder / "adapter" / "adapter_model.safetensors"
    tensors = {"m.lora_A.weight": torch.randn(2, 8).to(dtype), "m.lora_B.weight": torch.randn(8, 2).to(dtype)}
    save_file(tensors, path)
    (folder / "verify.py").write_text(Path(standalone.__file__).read_text("utf-8"))
    name = "adapter/adapter_model.safetensors"
    evidence = {
        "files": {name: sha256(path.read_bytes())},
        "tensors": {f"{name}:{k}": sha256(t.view(torch.uint8).numpy().tobytes()) for k, t in tensors.items()},
    }
    write_proofs(folder, evidence)
    (folder / "events.jsonl").write_text("".join(json.dumps(step(n)) + "\n" for n in (1, 2, 2, 3)) + '{"event": "st')
    return folder


def step(number, loss=2.5):
    return {"event": "step", "step": number, "loss": loss}


def write_proofs(folder, evidence, verdict="holds"):
    proofs = [
        {"name": "mask", "verdict": verdict, "reason": "told so", "evidence": {}},
        {"name": "save", "verdict": "holds", "reason": "equal", "evidence": evidence},
    ]
    (folder / "proof.json").write_text(json.dumps({"proofs": proofs, "seconds": 0.1}))
    told = {"mask": verdict, "save": "holds"}
    (folder / "result.json").write_text(json.dumps({"steps": 3, "proofs": told}))


def failures(folder):
    return [text for holds, text in standalone.verify(folder) if not holds]


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_as_its_own_program(tmp_path, dtype):
    folder = write_run(tmp_path / "run", dtype)
    program = [sys.executable, "-c", ALONE, str(folder / "verify.py")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "FAILS" not in done.stdout
    assert done.stdout.splitlines()[-1].endswith("12 of 12 checks hold")
    (folder / "adapter" / "adapter_model.safetensors").unlink()
    done = subprocess.run([*program, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FAILS  adapter/adapter_model.safetensors: missing, not" in done.stdout


def test_a_flipped_bit(folder):
    path = folder / "adapter" / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = failures(folder)
    assert len(found) == 2
    assert "not" in found[0]
    assert found[1].endswith("differ from what was saved: m.lora_B.weight")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), float("-inf")])
def test_not_finite(tmp_path, dtype, value):
    folder = write_run(tmp_path, dtype)
    path = folder / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors["m.lora_A.weight"][1, 1] = value
    save_file(tensors, path)
    assert any("not finite: m.lora_A.weight" in text for text in failures(folder))


def test_untrained_and_unlisted_tensors(folder):
    path = folder / "adapter" / "adapter_model.safetensors"
    save_file(load_file(path) | {"m.lora_B.weight": torch.zeros(8, 2), "more": torch.ones(1)}, path)
    found = failures(folder)
    assert any("still zero: m.lora_B.weight" in text for text in found)
    assert any("not listed in proof.json: more" in text for text in found)


def test_broken_headers(folder):
    path = folder / "adapter" / "adapter_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert any("data have different lengths" in text for text in failures(folder))
    path.write_bytes((10**9).to_bytes(8, "little") + whole[8:])
    assert any("longer than the file" in text for text in failures(folder))
    path.write_bytes(whole[:8] + b"x" + whole[9:])
    assert any("not JSON" in text for text in failures(folder))
    path.write_bytes(whole.replace(b"[2,8]", b"[2,9]"))
    assert any("broken at m.lora_A.weight" in text for text in failures(folder))


def test_tensors_that_share_bytes(folder):
    path = folder / "adapter" / "adapter_model.safetensors"
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    assert any("broken at b" in text for text in failures(folder))


def test_failed_proofs_and_results_that_differ(folder):
    evidence = json.loads((folder / "proof.json").read_text())["proofs"][1]["evidence"]
    write_proofs(folder, evidence, "fails")
    assert failures(folder) == ["proof mask: fails, told so"]
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"proofs": {"mask": "holds", "save": "holds"}}))
    assert failures(folder)[-1] == "result.json and proof.json tell different verdicts"
    write_proofs(folder, {})
    assert "proof.json lists no checksum of a file" in failures(folder)


def test_events(folder):
    lines = [step(1), step(3, float("nan"))]
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert failures(folder) == ["events.jsonl: steps missing: 2", "events.jsonl: no finite loss at step: 3"]
    (folder / "events.jsonl").write_text(json.dumps(step(1)))
    assert failures(folder) == ["events.jsonl ends at step 1, result.json tells 3 steps"]


def test_what_cannot_be_read(tmp_path, folder):
    assert "proof.json cannot be read" in failures(tmp_path)[0]
    (folder / "result.json").unlink()
    assert "the run is not complete" in failures(folder)[-1]
