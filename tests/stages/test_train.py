import json

import pytest
import torch
from tests.stages.runs import settings, write_rows
from tests.zoo import tiny_model_folder

from accorda.errors import Refusal
from accorda.methods.open import open_model
from accorda.methods.registry import methods
from accorda.methods.storage import save_model
from accorda.models.load import load_model, load_tokenizer
from accorda.quantization.kernels import chosen
from accorda.recipe.load import load
from accorda.runs import events
from accorda.runs.layout import RunFolder
from accorda.stages import reopen, resume, train, verify


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def run_of(tmp_path, name="run", **sections):
    return train(load(settings(tmp_path, name, **sections)))


SETTINGS = {"lora": {"rank": 2}}


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_method_runs_learns_and_proves_itself(method, tmp_path):
    run = run_of(tmp_path, method={"name": method, **SETTINGS.get(method, {})})
    first, *_, last = [event["eval_loss"] for event in events.read(run.folder.events) if event["event"] == "evaluation"]
    assert last < first
    assert {name for name, verdict in run.result["proofs"].items() if verdict == "fails"} == set()
    assert run.proven
    assert run.result["status"] == "complete"


@pytest.mark.parametrize(
    "names", ["lora+prompt_tuning", "bitfit+houlsby", "prefix_tuning+parallel_adapter", "rows+ia3"]
)
def test_several_methods_are_one_adapter(names, tmp_path):
    first, second = names.split("+")
    more = {"rows": {"target_modules": "all-linear", "choose": "fisher", "num_rows": 8}}
    run = run_of(tmp_path, method={"name": names, **({first: more[first]} if first in more else {})})
    assert run.proven
    assert run.result["method"] == names
    assert [proof.name for proof in verify(run.folder.path) if proof.verdict == "fails"] == []
    again = settings(tmp_path, "again", model={"path": str(run.folder.path)})
    del again["method"]
    went_on = train(load(again))
    assert went_on.result["method"] == names
    assert went_on.result["parents"] == [str(run.folder.path)]
    assert second in went_on.folder.recipe.read_text()


def test_the_folder_holds_what_the_contract_lists(tmp_path):
    folder = run_of(tmp_path).folder
    names = {path.name for path in folder.path.iterdir()}
    wanted = {"recipe.yaml", "events.jsonl", "adapter", "checkpoints", "proof.json", "result.json", "report.html"}
    assert wanted | {"environment.json", "renderer.json", "verify.py", "data.json", "samples.json"} <= names
    result = json.loads(folder.result.read_text())
    assert {"status", "stage", "method", "steps", "rows", "tokens", "supervised_tokens", "train_seconds"} <= set(result)
    assert {"tokens_per_second", "peak_memory_bytes", "bill_bytes", "loss", "eval_loss"} <= set(result)
    assert {"trainable_parameters", "proofs", "parents", "output"} <= set(result)
    low, high = result["intervals"]["eval_loss"]
    assert low < result["eval_loss"] < high
    data, samples = (json.loads(path.read_text()) for path in (folder.data, folder.samples))
    assert data["train"]["rows"] == result["rows"]
    assert data["eval"]["rows"]["kept"] == len(samples["samples"]) == 4
    assert [set(item) for item in samples["samples"]] == [{"prompt", "reference", "base", "tuned"}] * 4


def test_a_run_that_cannot_generate_ends_all_the_same_and_says_why(tmp_path, monkeypatch):
    def fail(*given, **settings):
        raise RuntimeError("no memory for a cache")

    monkeypatch.setattr("accorda.generation.sample.generate", fail)
    run = run_of(tmp_path)
    assert run.result["status"] == "complete"
    assert json.loads(run.folder.samples.read_text()) == {"error": "no memory for a cache", "samples": []}


def test_full_fine_tuning_leaves_a_model_that_transformers_loads(tmp_path):
    from transformers import AutoModelForCausalLM

    run = run_of(tmp_path, method={"name": "full"})
    loaded = AutoModelForCausalLM.from_pretrained(run.folder.model)
    live = reopen(run.folder).model
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(loaded(ids).logits, live(input_ids=ids).logits)


@pytest.mark.parametrize("number", ["int8", "nf4"])
def test_a_packed_base_trains_and_proves_itself(tmp_path, number):
    run = run_of(tmp_path, model={"quantization": number})
    assert run.proven
    where = json.loads(run.folder.environment.read_text())
    assert where.get("kernel of 4-bit weights") == (None if number == "int8" else chosen(torch.device("cpu")).name)


def test_a_packed_checkpoint_trains_as_the_dense_one_in_its_format(tmp_path):
    dense = run_of(tmp_path, model={"quantization": "nf4"})
    packed, source = tmp_path / "packed", tmp_path / "llama"
    save_model(load_model(source, quantization="nf4"), load_tokenizer(source), packed)
    run = run_of(tmp_path, "again", model={"path": str(packed)})
    assert run.proven
    assert run.result["loss"] == dense.result["loss"]
    assert open_model(run.folder.path).adapter_name == "default"


def test_falcon_runs_padded_and_says_so(tmp_path):
    recipe = load(settings(tmp_path, architecture="falcon_new"))
    dry = train(recipe, dry_run=True)
    assert dry.result["recipe"]["training"]["packing"] is False
    assert "Falcon" in dry.result["attention"]
    assert train(recipe).proven


def test_pretraining_from_random_weights(tmp_path):
    recipe = settings(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"{a} plus {b} is {a + b} ." for a in range(20) for b in range(20)), encoding="utf-8")
    recipe |= {"stage": "pretrain", "method": {"name": "full"}, "data": {"train": str(text), "max_length": 64}}
    recipe["model"] = {"path": recipe["model"]["path"], "config": str(tmp_path / "llama" / "config.json")}
    run = train(load(recipe))
    assert run.proven
    assert run.result["eval_loss"] < events.read(run.folder.events)[0]["eval_loss"]
    assert [proof.name for proof in verify(run.folder.path) if proof.verdict == "fails"] == []


def test_a_dry_run_tells_and_writes_nothing(tmp_path):
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    recipe = load(settings(tmp_path))
    made = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    dry = train(recipe, dry_run=True)
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == made != before
    assert dry.folder is None
    assert dry.result["proofs"] == {"mask": "holds", "coverage": "holds"}
    assert dry.result["trainable_parameters"] == dry.result["parameters"]["trained"]
    assert dry.result["arithmetic"]["rows_per_step"] == recipe.training.batch_size
    assert dry.result["arithmetic"]["passes_of_first_step"] == dry.result["micro_batches_first_step"] > 0


def test_a_finished_run_is_neither_resumed_nor_overwritten(tmp_path):
    run = run_of(tmp_path)
    with pytest.raises(Refusal, match="complete"):
        resume(run.folder)
    with pytest.raises(Refusal, match="complete run"):
        run_of(tmp_path)


def test_a_run_continues_another_and_remembers_it(tmp_path):
    first = run_of(tmp_path, "first")
    recipe = settings(tmp_path, "second", model={"path": str(first.folder.path)})
    del recipe["method"]
    second = train(load(recipe))
    assert second.result["parents"] == [str(first.folder.path)]
    start = next(event for event in events.read(second.folder.events) if event["event"] == "evaluation")
    assert start["eval_loss"] == pytest.approx(first.result["eval_loss"], abs=1e-4)
    with pytest.raises(Refusal, match="brings an adapter of lora"):
        run_of(tmp_path, "third", model={"path": str(first.folder.path)}, method={"name": "lora", "rank": 7})


def test_verify_draws_the_proofs_again(tmp_path):
    run = run_of(tmp_path)
    again = {proof.name: proof.verdict for proof in verify(run.folder.path)}
    assert again == run.result["proofs"]


def test_what_was_for_training_only_is_dropped_and_the_run_verified_and_continued(tmp_path):
    method = {"name": "p_tuning", "num_virtual_tokens": 3}
    first = run_of(tmp_path, "first", method=method)
    assert {proof.name: proof.verdict for proof in verify(first.folder.path)} == first.result["proofs"]
    second = run_of(tmp_path, "second", model={"path": str(first.folder.path)}, method=method)
    assert first.result["trainable_parameters"] > second.result["trainable_parameters"] == 3 * 32
    start = next(event for event in events.read(second.folder.events) if event["event"] == "evaluation")
    assert start["eval_loss"] == pytest.approx(first.result["eval_loss"], abs=1e-4)
    assert second.proven
    with pytest.raises(Refusal, match="brings an adapter of p_tuning with other settings"):
        run_of(tmp_path, "third", model={"path": str(first.folder.path)}, method=method | {"num_virtual_tokens": 4})


def test_verify_sees_a_changed_adapter(tmp_path):
    from safetensors.torch import load_file, save_file

    run = run_of(tmp_path)
    path = run.folder.adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor * 0 if "lora_B" in name else tensor for name, tensor in tensors.items()}, path)
    assert any(proof.verdict == "fails" for proof in verify(run.folder.path))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"method": {"name": "lroa"}}, "lora"),
        ({"method": {"name": "lora", "rnak": 3}}, "rank"),
        ({"data": {"train": "nowhere.jsonl"}}, "nowhere.jsonl"),
        ({"data": {"max_length": 100_000}}, "positions"),
        ({"training": {"precision": "fp16"}}, "precision"),
        ({"training": {"trackers": ["tensorbord"]}}, "tensorboard"),
        ({"model": {"path": "nowhere"}}, "nowhere"),
        ({"stage": "rl"}, "stage"),
        ({"evaluation": {"best": "beauty"}}, "beauty"),
        ({"evaluation": {"metrics": ["rogue"]}}, "rouge"),
        ({"training": {"optimizer": {"name": "adamv"}}}, "adamw"),
        ({"method": {"name": "lora", "target_modules": ["q_porj"]}}, "q_proj"),
        ({"method": {"name": "prompt_tuning", "placement": "placeholder"}}, "placement = placeholder: rows of text"),
    ],
)
def test_a_refused_run_leaves_nothing(sections, words, tmp_path):
    recipe = settings(tmp_path, **sections)
    with pytest.raises(Refusal) as refusal:
        train(load(recipe))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not RunFolder(tmp_path / "run").path.exists()


def test_the_few_rows_set_apart_are_not_judged_by_the_quarter_rule(tmp_path):
    """A split draws some of the same rows: two long ones among five are chance, not data that does not fit."""
    from tests.stages.runs import SUMS, write_rows

    long = {"prompt": "plus " * 300, "completion": "1"}
    rows = write_rows(tmp_path / "mixed.jsonl", [long if n % 5 == 0 else row for n, row in enumerate(SUMS * 3)])
    for seed in range(6):
        recipe = settings(tmp_path, data={"train": str(rows), "eval_split": 0.04}, training={"seed": seed})
        assert train(load(recipe), dry_run=True).result["rows"]["rows"]["overlong"] > 0


def test_samples_stand_in_the_log_and_not_in_the_summary(tmp_path):
    run = run_of(tmp_path, evaluation={"generate": 2, "max_new_tokens": 4})
    told = [event for event in events.read(run.folder.events) if event["event"] == "evaluation"]
    assert len(told[-1]["samples"]) == 2
    assert "samples" not in run.result


def test_conversations_prove_themselves_where_the_tokenizer_has_no_template(tmp_path):
    tiny_model_folder(tmp_path, "llama", chat_template=False)
    turns = [{"role": "user", "content": "how many?"}, {"role": "assistant", "content": "seven"}]
    write_rows(tmp_path / "rows.jsonl", [{"messages": turns}] * 6)
    run = train(load(settings(tmp_path, data={"eval_split": 0.0})))
    assert run.proven
    assert (run.folder.adapter / "chat_template.jinja").is_file()
