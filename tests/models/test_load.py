import json
import logging
import os
import pickle
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.zoo import DECODERS, batch, configuration, edit_json, make, tiny_model_folder, tiny_tokenizer
from transformers import AutoModel

from accorda.errors import Refusal
from accorda.models import room
from accorda.models.attention import NAME
from accorda.models.fingerprint import fingerprint
from accorda.models.heads import new_heads
from accorda.models.load import load_model, load_tokenizer
from accorda.quantization import QuantizedLinear


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model_folder(tmp_path, "llama")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def refusal(*arguments, **settings) -> str:
    with pytest.raises(Refusal) as caught:
        load_model(*arguments, **{"device": "cpu"} | settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", DECODERS)
def test_a_folder_is_loaded_as_it_was_saved(name, tmp_path):
    folder = tiny_model_folder(tmp_path, name)
    model = load_model(folder, device="cpu")
    names = {"embed_out.weight": "lm_head.weight"}  # GPT-NeoX's head has another name in files
    saved = {names.get(key, key): tensor for key, tensor in weights(folder).items()}
    state = model.state_dict()
    assert set(saved) <= set(state)
    assert all(torch.equal(state[key], tensor) for key, tensor in saved.items())
    assert not model.training
    assert model.config._attn_implementation == ("sdpa" if name.startswith("falcon") else NAME)
    assert new_heads(model) == {}


def test_the_real_model_answers_as_transformers_loads_it(stories):
    reference = transformers.AutoModelForCausalLM.from_pretrained(stories)
    ids = torch.randint(3, 512, (2, 40), generator=torch.Generator().manual_seed(0))
    model = load_model(stories)
    torch.testing.assert_close(model(input_ids=ids).logits, reference(input_ids=ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("declared", ["float32", "bfloat16", None])
def test_dtype_auto_is_what_transformers_takes(folder, declared):
    rewrite(folder, {key: tensor.bfloat16() for key, tensor in weights(folder).items()})
    edit_json(folder / "config.json", dtype=declared)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert load_model(folder, device="cpu").dtype == theirs.dtype == getattr(torch, declared or "bfloat16")
    assert load_model(folder, dtype="fp16", device="cpu").dtype == torch.float16


def test_sharded_weights_are_read(tmp_path):
    make("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert torch.equal(load_model(tmp_path).lm_head.weight, make("llama").lm_head.weight)
    next(tmp_path.glob("*-00002-*.safetensors")).unlink()
    assert "00002" in refusal(tmp_path)
    assert "not a whole safetensors file" in refusal(tmp_path)


def test_int8_is_loaded_in_blocks_only(folder):
    model = load_model(folder, quantization="int8", device="cpu")
    quantized = [name for name, module in model.named_modules() if isinstance(module, QuantizedLinear)]
    assert len(quantized) == 2 * 7
    assert all(name.startswith("model.layers.") for name in quantized)
    assert model.accorda_fingerprint == load_model(folder, device="cpu").accorda_fingerprint


def test_meta_has_shapes_and_no_values(folder):
    model = load_model(folder, device="meta", quantization="int8")
    built = load_model(folder, device="cpu", quantization="int8")
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in built.named_parameters()}
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["mapping", "file", "folder"])
def test_a_config_makes_random_weights_by_seed(folder, kind):
    content = json.loads((folder / "config.json").read_text())
    config = {"mapping": content, "file": folder / "config.json", "folder": folder}[kind]
    state = torch.random.get_rng_state()
    one, same, other = (load_model(None, config=config, seed=seed, device="cpu") for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.dtype == torch.float32
    assert one.accorda_fingerprint == same.accorda_fingerprint != other.accorda_fingerprint


@pytest.mark.parametrize("name", DECODERS)
def test_a_config_of_every_decoder(name):
    content = configuration(name).to_dict() | {"dtype": "bfloat16"}
    model = load_model(None, config=content, device="cpu")
    assert model(**batch(name)).logits.isfinite().all()
    assert model.dtype == torch.float32


@pytest.mark.parametrize(("head", "outputs"), [("classification", 2), ("reward", 1)])
def test_a_new_head_is_named_and_drawn_by_seed(folder, head, outputs):
    one, same, other = (load_model(folder, head=head, seed=seed, device="cpu") for seed in (0, 0, 1))
    assert list(new_heads(one)) == ["score"]
    assert new_heads(one)["score"].weight.shape == (outputs, 32)
    assert torch.equal(one.score.weight, same.score.weight)
    assert not torch.equal(one.score.weight, other.score.weight)
    assert torch.equal(one.model.embed_tokens.weight, weights(folder)["model.embed_tokens.weight"])
    assert one.accorda_fingerprint == load_model(folder, device="cpu").accorda_fingerprint


def test_a_head_that_was_saved_is_not_new(folder, tmp_path):
    model = load_model(folder, head="classification", device="cpu")
    model.save_pretrained(tmp_path / "classifier")
    again = load_model(tmp_path / "classifier", head="classification", device="cpu")
    assert new_heads(again) == {}
    assert torch.equal(again.score.weight, model.score.weight)
    assert "lacks the tensor lm_head.weight" in refusal(tmp_path / "classifier")
    message = refusal(tmp_path / "classifier", head="reward")
    assert "score.weight" in message
    assert "(2, 32), its config.json asks for (1, 32)" in message


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra"])
def test_an_encoder_takes_a_classification_head(name, tmp_path):
    make(name).save_pretrained(tmp_path)
    more = {"bert": ["bert.pooler"], "distilbert": ["pre_classifier"]}.get(name, [])
    expected = sorted([*more, "classifier"])
    assert sorted(new_heads(load_model(tmp_path, head="classification"))) == expected


def test_random_weights_under_a_new_head():
    model = load_model(None, config=configuration("llama").to_dict(), head="reward")
    assert list(new_heads(model)) == ["score"]
    assert model.score.out_features == 1


def test_what_is_not_a_model_folder_is_refused(folder, tmp_path):
    assert refusal(tmp_path / "none") == f"model: there is no folder {tmp_path / 'none'}"
    assert "is a file; name the folder" in refusal(folder / "config.json")
    assert "no folder some/model here, and the hub did not give it" in refusal("some/model")
    assert "no folder some-model here" in refusal("some-model")
    assert "name a model folder or a hub id" in refusal(None)
    assert "has no config.json: it is not a model folder" in refusal(tmp_path)
    (tmp_path / "shape.json").touch()
    said = refusal(None, config=tmp_path / "shap.json")
    assert said == f"model: {tmp_path / 'shap.json'}: no such file or folder; did you mean {tmp_path / 'shape.json'}?"
    (tmp_path / "shape.json").unlink()
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "has no config.json: it holds an adapter" in refusal(tmp_path)


def test_configs_that_say_nothing_right_are_refused(folder):
    config = folder / "config.json"
    good = config.read_text()
    edit_json(config, model_type="llama9000")
    assert refusal(folder) == (
        f"{config}: model_type 'llama9000' is unknown to transformers {transformers.__version__}"
    )
    edit_json(config, model_type="llama9000", auto_map={"AutoModelForCausalLM": "modeling_llama9000.X"})
    assert "needs code of its own; set model.trust_remote_code" in refusal(folder)
    edit_json(config, model_type=None)
    assert "has no model_type" in refusal(folder)
    config.write_text(good)
    edit_json(config, hidden_size="wide")
    assert "'hidden_size' expected int, got str" in refusal(folder)
    config.write_text(good)
    edit_json(config, quantization_config={"quant_method": "gptq"})
    assert "already quantized (gptq)" in refusal(folder)
    config.write_text(good[: len(good) // 2])
    assert "not valid JSON" in refusal(folder)
    assert "model.config: model_type None is unknown" in refusal(None, config={"hidden_size": 3})


def test_random_weights_larger_than_the_memory_are_refused_before_they_are_made(monkeypatch):
    small = configuration("llama").to_dict()
    size = sum(tensor.numel() * 4 for tensor in load_model(None, config=small, device="cpu").parameters())
    monkeypatch.setattr(room, "memory_bytes", lambda: size - 1)
    assert "weights take 0.0 GB, and this machine has 0.0; name a smaller model" in refusal(None, config=small)
    load_model(None, config=small, device="cpu", dtype="bfloat16")
    load_model(None, config=small, device="meta")


def test_an_encoder_is_refused_where_a_model_must_write(tmp_path):
    make("bert").save_pretrained(tmp_path)
    told = "model: bert is an encoder; this needs a decoder or an encoder-decoder, which write"
    assert refusal(tmp_path) == told


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_an_encoder_decoder_is_opened_as_it_was_saved_and_made_from_a_configuration(name, tmp_path):
    made = make(name)
    made.save_pretrained(tmp_path)
    opened = load_model(tmp_path)
    assert type(opened) is type(made)
    assert all(torch.equal(tensor, opened.state_dict()[key]) for key, tensor in made.state_dict().items())
    assert opened.accorda_fingerprint == fingerprint(made)
    fresh = load_model(None, config=tmp_path, seed=3)
    assert type(fresh) is type(made)
    assert fresh.state_dict().keys() == made.state_dict().keys()


class Boom:
    def __reduce__(self):
        return os.mkdir, (os.environ["ACCORDA_TEST_BOOM"],)


def test_pickle_weights_are_refused_and_never_opened(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_TEST_BOOM", str(tmp_path / "opened"))
    (folder / "model.safetensors").unlink()
    assert "has no safetensors weights" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Boom()))
    message = refusal(folder)
    assert "pickle weights only (pytorch_model.bin)" in message
    assert f"AutoModelForCausalLM.from_pretrained('{folder}')" in message
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("content", [b"", b"x" * 100, "half"])
def test_broken_weights_are_refused(folder, content):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    message = refusal(folder)
    assert message.startswith(f"{path}: not a whole safetensors file")


def test_partial_loads_are_refused(folder):
    tensors = weights(folder)
    rewrite(folder, {key: tensor for key, tensor in tensors.items() if key != "model.layers.1.mlp.up_proj.weight"})
    assert refusal(folder) == (
        f"model: {folder} lacks the tensor model.layers.1.mlp.up_proj.weight that its config.json asks for"
    )
    rewrite(folder, {key: tensor for key, tensor in tensors.items() if ".layers.1." not in key})
    assert "lacks model.layers.1.input_layernorm.weight and 8 more tensors" in refusal(folder)
    rewrite(folder, tensors | {"model.layers.1.self_attn.q_proj.bias": torch.ones(32)})
    assert "holds the tensor model.layers.1.self_attn.q_proj.bias that LlamaForCausalLM has no place for" in refusal(
        folder
    )
    rewrite(folder, tensors | {"model.norm.weight": torch.ones(16)})
    assert "model.norm.weight in" in refusal(folder)
    assert "has shape (16,), its config.json asks for (32,)" in refusal(folder)
    rewrite(folder, tensors)
    load_model(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float8"}, "model.dtype: 'float8' is not one of auto, float32, bfloat16"),
        ({"quantization": "int3"}, "model.quantization = int3: no such number format; did you mean int8?"),
        ({"head": "value"}, "head: 'value' is not one of language"),
        ({"device": "gpu"}, "device: 'gpu' is not a device"),
    ],
)
def test_unknown_settings_are_refused_before_anything_is_read(settings, message):
    assert message in refusal("/nowhere", **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_missing_cuda_device_is_refused(folder):
    assert "device: 'cuda' is not here" in refusal(folder, device="cuda")


def test_loading_writes_nothing_to_the_screen_and_leaves_settings(folder, capfd):
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    transformers.logging.add_handler(handler)
    transformers.logging.set_verbosity_warning()
    transformers.logging.enable_progress_bar()
    try:
        load_model(folder, head="reward", device="cpu")
        load_tokenizer(folder)
        assert transformers.logging.get_verbosity() == logging.WARNING
        assert transformers.logging.is_progress_bar_enabled()
    finally:
        transformers.logging.remove_handler(handler)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
    assert records == []
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_folder_saved_without_head_prefix_has_the_same_fingerprint(folder, tmp_path):
    model = load_model(folder, device="cpu")
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "bare")
    classifier = load_model(tmp_path / "bare", head="classification", device="cpu")
    assert classifier.accorda_fingerprint == model.accorda_fingerprint


def test_code_that_ships_with_a_folder_runs_only_when_trusted(folder):
    (folder / "modeling_own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class Own(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    edit_json(
        folder / "config.json",
        model_type="own",
        auto_map={"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"},
    )
    assert "needs code of its own" in refusal(folder)
    assert type(load_model(folder, trust_remote_code=True, device="cpu")).__name__ == "Own"


def test_the_tokenizer_is_read(folder):
    tokenizer = load_tokenizer(folder)
    assert tokenizer("Hello").input_ids == tiny_tokenizer()("Hello").input_ids
    assert tokenizer.chat_template is not None
