"""Whatever stands in an adapter's config or header, loading succeeds or refuses in one line; it never falls over."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peft import LNTuningConfig, LoraConfig, PromptTuningConfig, get_peft_model
from tests.zoo import make

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, installed
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.selective.bitfit import BitFit
from accorda.methods.storage import load_adapter, read_header, save_adapter
from accorda.methods.storage.files import CONFIG, read, write
from accorda.methods.storage.header import header_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    "x",
    "(",
    [],
    ["x"],
    ["("],
    [1],
    [None],
    {},
    {"(": 1},
    {"q_proj": "x"},
]
ODD += [{"q_proj": -1}, {"q_proj": None}, {"q_proj": 2.5}]
BY_PEFT = {
    "lora": LoraConfig(target_modules=["q_proj"]),
    "norms": LNTuningConfig(target_modules=["input_layernorm"]),
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}


def load_or_refuse(folder: Path) -> None:
    model = make("llama")
    said = None
    try:
        load_adapter(model, folder)
    except Refusal as refusal:
        said = str(refusal)
    assert said is None or ("\n" not in said and str(folder) in said and installed(model) == {})


@pytest.mark.parametrize("kind", BY_PEFT)
def test_any_field_of_a_config_by_peft(kind: str, tmp_path: Path):
    get_peft_model(make("llama"), BY_PEFT[kind]).save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    for field in [*config, "unknown"]:
        for value in ODD:
            (tmp_path / CONFIG).write_text(json.dumps(config | {field: value}))
            load_or_refuse(tmp_path)


@pytest.mark.parametrize("method", [LoRA(rank=2), BitFit()], ids=["metadata", "config"])
def test_any_header(method: Any, tmp_path: Path):
    save_adapter(install(freeze(make("llama")), method), tmp_path)
    content = read(tmp_path)
    found = header_of(content.config, content.metadata, "")
    assert found is not None
    good = found.to_dict()
    headers = [*ODD, *(good | {field: value} for field in good for value in ODD)]
    headers += [{key: good[key] for key in good if key != field} for field in good]
    headers += [good | {"methods": [{"name": "lora", "rank": value}]} for value in ODD if value != 10**400]
    for header in headers:
        if content.metadata.get("accorda"):
            write(tmp_path, replace(content, metadata={"accorda": json.dumps(header)}))
        else:
            write(tmp_path, replace(content, config=content.config | {"accorda": header}))
        load_or_refuse(tmp_path)
    write(tmp_path, replace(content, metadata={"accorda": "{"}, config={"peft_type": "LORA"}))
    load_or_refuse(tmp_path)
    with pytest.raises(Refusal, match="header"):
        read_header(tmp_path)
