"""Runs whose recipe adds tokens: trained, proven, reopened, resumed, continued, merged; and what is refused."""

import pytest
import torch
from tests.stages.runs import SUMS, settings, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

import accorda
from accorda.errors import Refusal
from accorda.evaluation.report import report
from accorda.methods.install import installed
from accorda.methods.open import open_model
from accorda.recipe.load import load
from accorda.stages import plan, reopen, train, verify

NEW = ["<ticket>", "<done>"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def recipe(tmp_path, method, name="run", **model):
    """The rows of the other runs, with a new token in front of every prompt and behind every completion."""
    marked = [{"prompt": f"<ticket>{row['prompt']}", "completion": f"{row['completion']}<done>"} for row in SUMS]
    data = {"train": str(write_rows(tmp_path / "new.jsonl", marked))}
    return settings(tmp_path, name, method=method, data=data, model={"added_tokens": NEW} | model)


@pytest.mark.parametrize("method", ["lora", "rows", "full"])
def test_trains_proves_itself_and_opens_again(method, tmp_path):
    run = train(load(recipe(tmp_path, {"name": method})))
    assert run.proven, {p.name: p.reason for p in run.proofs if p.verdict == "fails"}
    assert all(proof.verdict != "fails" for proof in verify(run.folder.path))
    first = accorda.load_tokenizer(run.folder.path)("<ticket>x<done>", add_special_tokens=False)["input_ids"]
    live, opened = reopen(run.folder).model, open_model(run.folder.path)
    assert first[0] == len(accorda.load_tokenizer(recipe(tmp_path, {"name": method})["model"]["path"]))
    ids = torch.tensor([first])
    torch.testing.assert_close(opened.model(ids).logits, live(ids).logits)
    lines = report(opened, limit=2, shots=0)["rows"]
    assert all(row["metrics"]["perplexity"]["value"] > 1 for row in lines if row["name"] in ("base", "tuned"))
    if method == "rows":
        assert load(run.folder.recipe).method["index"] == [first[0], first[-1]]
        assert run.result["trainable_parameters"] == 2 * 32 + 2 * 32  # two rows of the embedding, two of the head
    if method == "full":
        plain = AutoModelForCausalLM.from_pretrained(run.folder.model)
        torch.testing.assert_close(plain(ids).logits, live(ids).logits)
        assert AutoTokenizer.from_pretrained(run.folder.model)("<done>")["input_ids"][-1] == first[-1]


def test_a_run_goes_on_with_its_tokens_and_takes_no_others(tmp_path):
    first = train(load(recipe(tmp_path, {"name": "lora", "rank": 2})))
    going_on = recipe(tmp_path, {"name": "lora", "rank": 2}, "on", path=str(first.folder.path), added_tokens=[])
    second = train(load(going_on))
    assert second.proven
    names = [type(method).__name__ for method in installed(reopen(second.folder).model)["default"]]
    assert names == ["LoRA", "Rows"]
    other = recipe(tmp_path, {"name": "lora", "rank": 2}, "other", path=str(first.folder.path), added_tokens=["<x>"])
    with pytest.raises(Refusal, match=r"model\.added_tokens .*brings an adapter.*merge it first"):
        train(load(other))
    assert not (tmp_path / "other").exists()


def test_a_token_that_is_one_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(Refusal, match=r"model\.added_tokens: '</s>' is a token already \(id 2\)"):
        train(load(recipe(tmp_path, {"name": "lora"}, added_tokens=["</s>"])))
    assert not (tmp_path / "run").exists()


def test_the_bill_counts_the_new_rows(tmp_path):
    """A number in fp32 and its place in int64 for every entry of two rows of the embedding and two of the head."""
    start = plan(load(recipe(tmp_path, {"name": "rows"}))).moments[0]
    assert start["adapter"] == 4 * 32 * (4 + 8)
