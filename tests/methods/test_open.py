"""Whatever a user may name is opened as what it is, and everything else is refused in one line with the way out."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.methods.storage.test_adapter import logits, stirred
from tests.methods.storage.test_model import TurnEnder
from tests.zoo import edit_json, tiny_model_folder
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods import locate as module
from accorda.methods.install import freeze, install, installed, trainable
from accorda.methods.locate import adapter_folder, locate
from accorda.methods.merging import merge
from accorda.methods.open import Opened, open_model
from accorda.methods.open import load_model as load_any
from accorda.methods.open import load_tokenizer as load_any_tokenizer
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.storage import companions, save_adapter, save_model
from accorda.models import load
from accorda.models.load import load_model, load_tokenizer


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We stand in a project with a model at models/llama; nothing on the hub can be reached."""

    def offline(name: str, code: bool = False) -> Path:
        raise Refusal(f"model: no folder {name} here, and the hub did not give it")

    tiny_model_folder(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "model_folder", offline)
    return tmp_path


def tuned(base: str | Path = "models/llama", seed: int = 1) -> PreTrainedModel:
    return stirred(install(freeze(load_model(base, device="cpu")), LoRA(rank=2)), seed=seed)


def adapter(folder: str = "adapter", **options) -> PreTrainedModel:
    save_adapter(model := tuned(**options), folder)
    return model


def run(folder: str = "runs/one", complete: bool = True, merged: bool = False) -> PreTrainedModel:
    """A run folder as a stage leaves it."""
    model, place = tuned(), Path(folder)
    tokenizer = load_tokenizer("models/llama")
    place.mkdir(parents=True)
    (place / "recipe.yaml").write_text("stage: sft\n")
    TurnEnder().save(place)
    if merged:
        save_model(merge(model), tokenizer, place / "model", renderer=TurnEnder())
    elif complete:
        save_adapter(model, place / "adapter", beside=companions(tokenizer, TurnEnder()))
    if complete:
        (place / "result.json").write_text("{}")
    return model


def opened(path: str | Path | None, **options) -> Opened:
    return open_model(path, device="cpu", **options)


def test_a_model_folder(home: Path):
    found = opened("models/llama")
    assert torch.equal(logits(found.model), logits(load_model("models/llama", device="cpu")))
    assert (found.base_path, found.tokenizer_source) == ("models/llama", "models/llama")
    assert (found.adapter_name, found.run, found.renderer_path) == (None, None, None)
    assert not found.model.training


@pytest.mark.parametrize("name", ["adapter", "./adapter/", "deep/down/adapter"])
def test_an_adapter_folder_finds_its_base(home: Path, name: str):
    expected = logits(adapter(name))
    found = opened(name)
    assert torch.equal(logits(found.model), expected)
    assert (found.base_path, found.tokenizer_source, found.adapter_name) == ("models/llama", "models/llama", "default")
    assert trainable(found.model) == {}
    again = opened(name, trainable=True).model
    assert [key for key in trainable(again) if "lora" not in key] == []


def test_a_base_named_relatively_is_found_from_anywhere(home: Path, monkeypatch: pytest.MonkeyPatch):
    expected = logits(adapter("runs/one/adapter"))
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    found = opened("../runs/one/adapter")
    assert torch.equal(logits(found.model), expected)
    assert found.base_path == str(home / "models" / "llama")


def test_an_absolute_base_is_found(home: Path, monkeypatch: pytest.MonkeyPatch):
    expected = logits(adapter(base=home / "models" / "llama"))
    monkeypatch.chdir("/")
    assert torch.equal(logits(opened(home / "adapter").model), expected)


def test_the_base_can_be_given(home: Path):
    expected = logits(adapter())
    shutil.move("models/llama", "moved")
    found = opened("moved", adapter="adapter")
    assert torch.equal(logits(found.model), expected)
    assert (found.base_path, found.adapter_name) == ("moved", "default")
    run_logits = logits(load_model("moved", device="cpu"))
    assert torch.equal(logits(opened("moved").model), run_logits)


def test_a_run_with_an_adapter(home: Path):
    expected = logits(run())
    found = opened("runs/one")
    assert torch.equal(logits(found.model), expected)
    assert found.run is not None
    assert found.run.path == Path("runs/one")
    assert (found.tokenizer_source, found.renderer_path) == ("runs/one/adapter", Path("runs/one/adapter/renderer.json"))
    assert torch.equal(logits(opened("models/llama", adapter="runs/one").model), expected)


def test_a_run_with_a_whole_model(home: Path):
    expected = logits(run(merged=True))
    found = opened("runs/one")
    assert torch.equal(logits(found.model), expected)
    assert installed(found.model) == {}
    assert (found.base_path, found.tokenizer_source) == ("runs/one/model", "runs/one/model")
    assert found.renderer_path == Path("runs/one/model/renderer.json")


def test_the_renderer_of_a_run_is_used_where_none_is_beside_the_adapter(home: Path):
    run()
    Path("runs/one/adapter/renderer.json").unlink()
    assert opened("runs/one").renderer_path == Path("runs/one/renderer.json")


def test_an_adapter_on_the_whole_model_of_a_run(home: Path):
    run("runs/first", merged=True)
    expected = logits(adapter("second", base="runs/first/model"))
    found = opened("second")
    assert torch.equal(logits(found.model), expected)
    assert found.base_path == "runs/first/model"
    assert found.renderer_path == Path("runs/first/model/renderer.json")


def test_an_adapter_folder_alone_has_all_it_takes_to_give_the_same_ids(home: Path):
    run()
    shutil.copytree("runs/one/adapter", "sent/adapter")
    found = opened("sent/adapter")
    text = "Natalia sold clips"
    assert found.tokenizer_source == "sent/adapter"
    assert found.renderer_path == Path("sent/adapter/renderer.json")
    ids = [load_tokenizer(source)(text)["input_ids"] for source in (found.tokenizer_source, "models/llama")]
    assert ids[0] == ids[1]
    prompt = torch.tensor([ids[0]])
    outputs = [m.generate(prompt, max_new_tokens=8, do_sample=False) for m in (found.model, opened("runs/one").model)]
    assert torch.equal(*outputs)


def test_model_and_tokenizer_by_any_name(home: Path):
    expected = logits(run())
    assert torch.equal(logits(load_any("runs/one", device="cpu")), expected)
    assert torch.equal(logits(load_any("models/llama", adapter="runs/one", device="cpu")), expected)
    adapter("bare")
    for name in ("runs/one", "runs/one/adapter", "bare", "models/llama"):
        assert load_any_tokenizer(name)("sold")["input_ids"] == load_tokenizer("models/llama")("sold")["input_ids"]
    with pytest.raises(Refusal, match=r"did you mean models/llama\?"):
        load_any_tokenizer("models/lama")


def test_random_weights(home: Path):
    found = opened(None, config="models/llama/config.json", seed=3)
    assert torch.equal(logits(found.model), logits(load_model(None, config="models/llama", seed=3, device="cpu")))
    assert (found.base_path, found.tokenizer_source) == (None, "models/llama/config.json")
    assert opened("models/llama", config="models/llama").tokenizer_source == "models/llama"


def test_a_hub_id_of_a_model_and_of_an_adapter(home: Path, monkeypatch: pytest.MonkeyPatch):
    adapter("cache/adapter")
    edit_json(Path("cache/adapter/adapter_config.json"), base_model_name_or_path="someone/llama")
    hub = {"someone/llama": home / "models/llama", "other/tuned": home / "cache/adapter"}

    def download(name, code=False, weights=True):
        return hub.get(str(name)) or Path(name)

    monkeypatch.setattr(module, "model_folder", download)
    monkeypatch.setattr(load, "model_folder", download)
    found = opened("other/tuned")
    assert (found.base_path, found.adapter_name) == ("someone/llama", "default")
    assert found.model.name_or_path == "someone/llama"
    save_adapter(found.model, "again")
    assert json.loads(Path("again/adapter_config.json").read_text())["base_model_name_or_path"] == "someone/llama"
    assert torch.equal(logits(opened("someone/llama", adapter="other/tuned").model), logits(found.model))
    assert opened("someone/llama").adapter_name is None


def test_a_replacement_that_was_killed_halfway_is_put_back(home: Path):
    adapter("adapter")
    Path("adapter").rename(".adapter.old")
    assert locate("adapter").adapter == Path("adapter")
    assert adapter_folder("adapter") == Path("adapter")


def test_refusals_name_the_way_out(home: Path):
    adapter("adapter")
    run("runs/whole", merged=True)
    run("runs/open", complete=False)
    (home / "runs" / "hollow").mkdir()
    for file in ("recipe.yaml", "result.json"):
        (home / "runs" / "hollow" / file).write_text("{}")
    (home / "empty").mkdir()
    save_adapter(tuned(), "lost")
    edit_json(home / "lost" / "adapter_config.json", base_model_name_or_path="../gone/llama")
    save_adapter(tuned(), "nameless")
    edit_json(home / "nameless" / "adapter_config.json", base_model_name_or_path=None)
    save_adapter(tuned(), "stacked")
    edit_json(home / "stacked" / "adapter_config.json", base_model_name_or_path="adapter")
    cases = {
        "adaptr": r"model.path = adaptr: no such folder; did you mean adapter\?",
        "models/lama": r"did you mean models/llama\?",
        "runs/hole": r"no such folder; did you mean runs/whole",
        "gpt2": r"a hub id \(owner/name\)",
        "nobody/nothing": "the hub did not give it",
        "./nobody/nothing": "no such folder",
        "/nowhere/at/all": "no such folder",
        "adapter/adapter_config.json": "a file; name the folder",
        "models": r"neither a run .* nor a model \(config.json\); did you mean models/llama\?",
        "empty": "neither a run",
        "runs/open": "this run is not finished; finish it with: accorda resume runs/open",
        "runs/hollow": "neither adapter/ nor model/",
        "lost": r"base \.\./gone/llama is not here; give it: model.path = its base, model.adapter = lost",
        "nameless": "does not say which base",
        "stacked": "is itself an adapter",
    }
    for path, says in cases.items():
        with pytest.raises(Refusal, match=says) as refusal:
            opened(path)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "which", "says"),
    [
        ("adapter", "adapter", "adapter brings one of its own"),
        ("models/llama", "models/llama", r"model.adapter = models/llama: no adapter"),
        ("models/llama", "runs/open", "accorda resume runs/open"),
        ("models/llama", "runs/whole", "no adapter"),
        ("models/llama", "adaptr", r"model.adapter = adaptr: no such folder; did you mean adapter\?"),
    ],
)
def test_an_adapter_that_cannot_be_put_on_is_refused(home: Path, path: str, which: str, says: str):
    adapter("adapter")
    run("runs/whole", merged=True)
    run("runs/open", complete=False)
    with pytest.raises(Refusal, match=says):
        opened(path, adapter=which)


def test_another_model_under_the_bases_name_is_refused(home: Path):
    adapter("adapter")
    shutil.rmtree("models/llama")
    tiny_model_folder(home / "models", seed=5)
    with pytest.raises(Refusal, match="trained on another base, models/llama"):
        opened("adapter")
