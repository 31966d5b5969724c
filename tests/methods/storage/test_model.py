"""A saved model is an ordinary folder: plain transformers reads the weights, the settings, the tokenizer."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.methods.storage.test_adapter import logits, stirred
from tests.zoo import batch, make, tiny_model_folder, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.merging import merge
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import use
from accorda.methods.selective.full import Full
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.storage import load_adapter, save_adapter, save_model
from accorda.models.load import load_model
from accorda.quantization import formats


class TurnEnder:
    """A renderer whose turns end with id 7."""

    stop_ids = (2, 7)
    kind = "completion"
    template = None

    def __repr__(self) -> str:
        return "ends with 7"  # tests are named by it, and every worker must name them alike

    def save(self, folder: Path | str) -> None:
        Path(folder, "renderer.json").write_text("{}")


def plain(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma"])
def test_a_merged_model_is_read_by_plain_transformers(architecture: str, tmp_path: Path):
    model = merge(stirred(install(freeze(make(architecture)), LoRA(rank=2))))
    save_model(model, tiny_tokenizer(), tmp_path / "merged")
    again = plain(tmp_path / "merged")
    assert torch.equal(logits(again, architecture), logits(model, architecture))
    assert again.state_dict().keys() == make(architecture).state_dict().keys()


def test_a_merged_tied_head_stays_untied(tmp_path: Path):
    model = make("llama", tie_word_embeddings=True)
    merge(stirred(install(freeze(model), LoRA(rank=2, target_modules="lm_head"))))
    save_model(model, tiny_tokenizer(), tmp_path / "merged")
    assert torch.equal(logits(plain(tmp_path / "merged")), logits(model))


@pytest.mark.parametrize("keep_base", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_a_fully_trained_model_is_saved_without_merging(keep_base: bool, tied: bool, tmp_path: Path):
    model = stirred(install(make("llama", tie_word_embeddings=tied), Full(keep_base=keep_base)))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    save_model(model, tiny_tokenizer(), tmp_path / "model")
    assert torch.equal(logits(plain(tmp_path / "model")), logits(model))
    assert load_file(tmp_path / "model" / "model.safetensors").keys() <= make("llama").state_dict().keys()
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in before.items())


def test_the_named_adapters_values_are_saved_whatever_is_shown(tmp_path: Path):
    model = make("llama")
    stirred(install(model, LayerNorm(), "one"), "one")
    expected = logits(model)
    with use(model, None):
        stirred(install(model, LayerNorm(), "two", active=False), "two", seed=2)
        with pytest.raises(Refusal, match="adapters one, two have values"):
            save_model(model, tiny_tokenizer(), tmp_path / "model")
        save_model(model, tiny_tokenizer(), tmp_path / "model", name="one")
    assert torch.equal(logits(plain(tmp_path / "model")), expected)


def test_the_tokenizer_and_its_template_are_in_the_folder(tmp_path: Path):
    tokenizer = tiny_tokenizer()
    save_model(make("llama"), tokenizer, tmp_path / "model", renderer=TurnEnder())
    again = AutoTokenizer.from_pretrained(tmp_path / "model")
    turns = [{"role": "user", "content": "How many clips in May?"}]
    assert again.apply_chat_template(turns, tokenize=False) == tokenizer.apply_chat_template(turns, tokenize=False)
    assert again("sold 48 clips")["input_ids"] == tokenizer("sold 48 clips")["input_ids"]
    assert (tmp_path / "model" / "renderer.json").read_text() == "{}"


@pytest.mark.parametrize("own", [True, False], ids=["own template", "none"])
def test_a_model_of_conversations_gets_the_template_they_were_rendered_by(own: bool, tmp_path: Path):
    tokenizer = tiny_tokenizer(chat_template=own)
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Sold in May."}]
    renderer = Renderer(tokenizer, template="alpaca", kind="messages")
    save_model(make("llama"), tokenizer, tmp_path / "model", renderer=renderer)
    again = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = again.apply_chat_template(turns[:1], add_generation_prompt=True)["input_ids"]
    assert ids == renderer.prompt_ids(renderer.ask("Hello"))
    assert Renderer.load(tmp_path / "model", again).template == renderer.template
    save_model(
        make("llama"),
        tokenizer,
        tmp_path / "prompts",
        renderer=Renderer(tokenizer, template="alpaca", kind="completion"),
    )
    assert AutoTokenizer.from_pretrained(tmp_path / "prompts").chat_template == tokenizer.chat_template


@pytest.mark.parametrize(
    ("settings", "renderer", "expected"),
    [
        ({}, None, {"eos_token_id": 2, "pad_token_id": 0}),
        ({}, TurnEnder(), {"eos_token_id": [2, 7]}),
        ({"eos_token_id": [5, 2]}, TurnEnder(), {"eos_token_id": [5, 2, 7]}),
        ({"eos_token_id": None}, None, {"eos_token_id": 2}),
        ({"pad_token_id": None}, None, {"pad_token_id": 0}),
        ({"temperature": 0.6}, None, {"temperature": 0.6, "do_sample": True}),
        ({"top_k": 50}, None, {"top_k": 50, "do_sample": None}),
    ],
    ids=str,
)
def test_generation_stops_where_training_ended_a_turn(
    settings: dict[str, Any], renderer: Any, expected: dict[str, Any], tmp_path: Path
):
    model = make("llama")
    for key, value in settings.items():
        setattr(model.generation_config, key, value)
    before = model.generation_config.to_dict()
    save_model(model, tiny_tokenizer(), tmp_path / "model", renderer=renderer)
    written = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert {key: written.get(key) for key in expected} == expected
    assert not written.get("_from_model_config")
    assert model.generation_config.to_dict() == before
    assert plain(tmp_path / "model").generation_config.eos_token_id == written["eos_token_id"]


def test_plain_transformers_stops_at_the_turns_end(tmp_path: Path):
    model = make("llama")
    prompt = batch("llama", rows=1)["input_ids"]
    free = plain_tokens(model, prompt)

    class Ends(TurnEnder):
        stop_ids = (free[2],)

    save_model(model, tiny_tokenizer(), tmp_path / "model", renderer=Ends())
    assert plain_tokens(plain(tmp_path / "model"), prompt) == free[: free.index(free[2]) + 1]


def plain_tokens(model: PreTrainedModel, prompt: torch.Tensor) -> list[int]:
    out = model.generate(prompt, max_new_tokens=8, do_sample=False)
    return out[0, prompt.shape[1] :].tolist()


def test_what_is_no_whole_dense_model_is_refused(tmp_path: Path):
    with pytest.raises(Refusal, match="'default' is not merged"):
        save_model(install(make("llama"), LoRA(rank=2)), tiny_tokenizer(), tmp_path / "a")
    with pytest.raises(Refusal, match="no adapter 'x'"):
        save_model(make("llama"), tiny_tokenizer(), tmp_path / "a", name="x")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("")
    with pytest.raises(Refusal, match="not a model folder and not empty"):
        save_model(make("llama"), tiny_tokenizer(), tmp_path / "notes")
    assert os.listdir(tmp_path) == ["notes"]


@pytest.mark.parametrize("number", formats())
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "t5", "bert"])
def test_a_packed_model_loads_without_the_dense_one(name: str, number: str, tmp_path: Path):
    folder, out = tiny_model_folder(tmp_path / "dense", name), tmp_path / "packed"
    head = "classification" if name == "bert" else "language"
    model = load_model(folder, device="cpu", quantization=number, head=head)
    save_model(model, tiny_tokenizer(), out)
    again = load_model(out, device="cpu", head=head)
    first, second = model.state_dict(), again.state_dict()
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert again.accorda_fingerprint == model.accorda_fingerprint


def test_the_note_of_the_dense_model_is_of_these_weights_only(tmp_path: Path):
    model = load_model(tiny_model_folder(tmp_path / "dense"), device="cpu", quantization="nf4")
    save_model(model, tiny_tokenizer(), tmp_path / "packed")
    file = tmp_path / "packed" / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"model.norm.weight": tensors["model.norm.weight"] + 1}, file, {"format": "pt"})
    assert load_model(tmp_path / "packed", device="cpu").accorda_fingerprint != model.accorda_fingerprint


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("number", formats())
def test_transformers_reads_a_packed_model(name: str, number: str, tmp_path: Path):
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    # widths of whole blocks: elsewhere bitsandbytes' function for CPUs gives other numbers than its other ones
    widths = {"gpt2": {"n_embd": 64}}.get(name, {"hidden_size": 64, "intermediate_size": 128})
    make(name, **widths | ({"head_dim": 16} if name == "llama" else {})).save_pretrained(tmp_path / "dense")
    model = load_model(tmp_path / "dense", device="cpu", quantization=number)
    save_model(model, tiny_tokenizer(), tmp_path / "packed")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "packed", device_map="cpu").eval()
    inputs = batch(name)
    kinds = {type(module).__name__ for module in theirs.modules()}
    assert kinds & {"Linear4bit", "Linear8bitLt"}
    assert type(theirs.get_output_embeddings()) is torch.nn.Linear
    theirs.train()  # in evaluation it packs weights anew, in place
    with torch.no_grad():
        off = (theirs(**inputs).logits - model(**inputs).logits).abs().max()
    assert off < (0.05 if number == "int8" else 1e-3)


def test_a_crash_leaves_the_model_that_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tiny_model_folder(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(folder: Path) -> None:
        raise OSError("No space left on device")

    renderer = TurnEnder()
    monkeypatch.setattr(renderer, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_model(make("gpt2"), tiny_tokenizer(), folder, renderer=renderer)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_adapter_is_loaded_on_its_base_only_but_in_any_format_of_it(tmp_path: Path):
    folder, other = tiny_model_folder(tmp_path / "a"), tiny_model_folder(tmp_path / "b", seed=1)
    model = stirred(install(freeze(load_model(folder, device="cpu")), LoRA(rank=2)))
    save_adapter(model, tmp_path / "adapter")
    for options in ({"dtype": "bfloat16"}, {"quantization": "int8"}, {}):
        base = load_model(folder, device="cpu", **options)
        load_adapter(base, tmp_path / "adapter")
        assert own_tensors(base, "default").keys() == own_tensors(model, "default").keys()
    wrong = load_model(other, device="cpu")
    with pytest.raises(Refusal, match=rf"trained on another base, {folder} .*; this model is {other}") as refusal:
        load_adapter(wrong, tmp_path / "adapter")
    assert "\n" not in str(refusal.value)
    assert not hasattr(wrong, "adapters")
