"""Saving states that live in pages does not bring them all into memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NUMBERS, COUNT = 4_000_000, 8
LARGEST, STATES = 4 * NUMBERS, 8 * NUMBERS * COUNT  # bytes
MEASURE = f"""
import json, sys
from pathlib import Path
import torch
from torch import nn
from accorda.models.tensor_file import keep
from accorda.proofs.resume import summary
from accorda.training import checkpoint
from accorda.training.loop import Loop
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.optimizers.paged_adamw import PagedAdamW

torch.set_num_threads(1)
model = nn.Module()
for number in range({COUNT}):
    model.register_parameter(str(number), nn.Parameter(torch.zeros({NUMBERS})))
optimizer = PagedAdamW(budget_mb=16).build(parameter_groups(dict(model.named_parameters())))
loop = Loop(model=model, objective=None, batches=None, optimizer=optimizer, schedule=None)
for parameter in model.parameters():
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    parameter.grad = None

def memory(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

def gained(action):
    open("/proc/self/clear_refs", "w").write("5")
    before = memory("VmRSS")
    action()
    return memory("VmHWM") - before

def save(name, **changes):
    state = loop.state(copy=False)
    state.__dict__.update(changes)
    checkpoint.save(Path(sys.argv[1]) / name, state)

save("first")
found = {{"save": gained(lambda: save("second")), "again": gained(lambda: save("third"))}}
found["summary"] = gained(lambda: summary(loop))
found["kept"] = gained(lambda: save("fourth", let_go=keep))
found["same"] = len({{json.loads((Path(sys.argv[1]) / name / "state.json").read_text())["sha256"]
                      for name in ("first", "second", "third", "fourth")}})
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to reset the high-water mark")
def test_a_save_takes_no_more_than_the_largest_tensor(tmp_path):
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["save"] <= LARGEST, found
    assert found["again"] <= LARGEST, found
    assert found["summary"] <= 2 * LARGEST + 8e6, found
    assert found["kept"] > STATES - 16e6, "what the test sees where nothing is let go"
    assert found["same"] == 1
