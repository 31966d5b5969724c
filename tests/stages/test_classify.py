"""Whole runs of stage classify, on every kind of model."""

import json
import sys

import pytest
import torch
from peft import PeftModel
from tests.stages.classified import NUMBERS, PAIRS, ROWS, settings
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from accorda.errors import Refusal
from accorda.evaluation.labelled.predict import label_texts
from accorda.evaluation.labelled.report import opened_renderer, report
from accorda.methods.merging import merge
from accorda.methods.open import load_model, open_model
from accorda.methods.registry import methods
from accorda.methods.storage import save_model
from accorda.recipe.load import load
from accorda.runs import events
from accorda.stages import plan, resume, train, verify
from accorda.stages.build import build
from accorda.training.run import Course


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def run_of(tmp_path, name="run", **more):
    return train(load(settings(tmp_path, name, **more)))


def said(model, tokenizer, text):
    model.eval()
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).logits


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_method_trains_a_head_with_it_and_proves_it(method, tmp_path):
    run = run_of(tmp_path, method={"name": method})
    evaluations = [event for event in events.read(run.folder.events) if event["event"] == "evaluation"]
    assert evaluations[-1]["eval_loss"] != evaluations[0]["eval_loss"]  # one rate for all, so not lower for each
    assert {"accuracy", "f1_macro", "intervals"} <= evaluations[0].keys()
    assert run.proven, run.proofs
    assert {run.result["proofs"][name] for name in ("mask", "coverage", "movement", "gradient", "save")} == {"holds"}
    assert run.result["supervised_tokens"] == 4 * 8


@pytest.mark.parametrize("rows", [ROWS, NUMBERS], ids=["classes", "numbers"])
def test_a_method_may_measure_the_loss_of_the_labels_before_it_begins(rows, tmp_path):
    method = {"name": "rows", "target_modules": "mlp.up", "choose": "fisher", "num_rows": 2}
    run = run_of(tmp_path, rows=rows, method=method, training={"max_steps": 2})
    assert run.proven, run.proofs
    assert all(len(numbers) == 2 for _, numbers in load(run.folder.recipe).method["found"])


@pytest.mark.parametrize(
    "architecture", ["roberta", "distilbert", "electra", "llama", "gpt2", "falcon_new", "t5", "bart"]
)
def test_every_kind_of_model(architecture, tmp_path):
    run = run_of(tmp_path, architecture=architecture)
    assert run.proven, run.proofs
    assert run.result["proofs"]["packing"] == "holds"
    assert "accuracy" in run.result


def test_what_it_leaves_loads_elsewhere_with_the_same_logits(tmp_path):
    run = run_of(tmp_path)
    base, text = str(tmp_path / "bert"), "good number 3"
    opened = open_model(run.folder.path)
    renderer = opened_renderer(opened)
    tokenizer = AutoTokenizer.from_pretrained(run.folder.adapter)
    ours = said(opened.model, tokenizer, text)
    assert opened.model.config.id2label == {0: "neg", 1: "pos"}
    card = (run.folder.adapter / "README.md").read_text()
    assert "labels = {0: 'neg', 1: 'pos'}" in card
    theirs = AutoModelForSequenceClassification.from_pretrained(base, id2label={0: "neg", 1: "pos"})
    theirs = PeftModel.from_pretrained(theirs, run.folder.adapter)
    torch.testing.assert_close(said(theirs, tokenizer, text), ours, atol=1e-6, rtol=0)
    (found,) = label_texts(opened.model, renderer, [renderer_example(text)], max_length=64)
    assert found["label"] == ("neg", "pos")[int(ours.argmax())]
    assert found["probabilities"]["pos"] == pytest.approx(float(torch.softmax(ours[0], 0)[1]), abs=1e-6)
    merge(opened.model)
    save_model(opened.model, tokenizer, tmp_path / "merged", renderer=renderer)
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert merged.config.label2id == {"neg": 0, "pos": 1}
    torch.testing.assert_close(said(merged, tokenizer, text), ours, atol=1e-5, rtol=0)
    torch.testing.assert_close(said(load_model(tmp_path / "merged"), tokenizer, text), said(merged, tokenizer, text))


def renderer_example(text):
    from accorda.data.example import Example

    return Example(text=text)


def test_full_fine_tuning_leaves_a_classifier(tmp_path):
    run = run_of(tmp_path, method={"name": "full"})
    model = AutoModelForSequenceClassification.from_pretrained(run.folder.model)
    assert model.config.id2label == {0: "neg", 1: "pos"}
    assert [proof.name for proof in verify(run.folder.path) if proof.verdict == "fails"] == []
    second = run_of(tmp_path, "second", model={"path": str(run.folder.path)})
    start = next(event for event in events.read(second.folder.events) if event["event"] == "evaluation")
    assert start["eval_loss"] == pytest.approx(run.result["eval_loss"], abs=1e-5)
    with pytest.raises(Refusal, match="its head tells apart neg, pos, the rows no, yes"):
        run_of(tmp_path, "third", model={"path": str(run.folder.path)}, rows=renamed(("no", "yes")))


def renamed(names):
    return [{**row, "label": names[row["label"] == "pos"]} for row in ROWS]


def test_a_run_goes_on_from_another_also_on_some_of_its_classes(tmp_path):
    first = run_of(tmp_path, rows=[*ROWS, *({"text": f"so so {n}", "label": "mid"} for n in range(9))])
    path = {"path": str(first.folder.path)}
    recipe = settings(tmp_path, "second", model=path)
    del recipe["method"]
    second = train(load(recipe))
    assert second.result["parents"] == [str(first.folder.path)]
    assert json.loads((second.folder.path / "renderer.json").read_text())["labels"] == ["mid", "neg", "pos"]


def test_regression_where_labels_have_a_point(tmp_path):
    run = run_of(tmp_path, rows=NUMBERS, architecture="llama", training={"max_steps": 20})
    assert run.proven
    first, *_, last = [event for event in events.read(run.folder.events) if event["event"] == "evaluation"]
    assert last["eval_loss"] < first["eval_loss"]
    assert {"pearson", "mean_absolute_error"} <= run.result.keys()
    opened = open_model(run.folder.path)
    assert (opened.model.config.num_labels, opened.model.config.problem_type) == (1, "regression")
    found = report(opened, metrics="eval_loss,pearson")
    assert [row["name"] for row in found["rows"]] == ["mean", "linear probe", "tuned"]
    assert found["rows"][2]["metrics"]["eval_loss"]["value"] == pytest.approx(run.result["eval_loss"], rel=1e-4)


def test_whole_numbers_are_learned_as_numbers_where_that_is_said(tmp_path):
    rows = [{**row, "label": int(2 * row["label"])} for row in NUMBERS]
    dry = train(load(settings(tmp_path, rows=rows, algorithm={"labels": "numbers"})), dry_run=True)
    assert dry.result["rows"]["labels"]["most"] == 3.0
    with pytest.raises(Refusal, match=r"algorithm\.labels"):
        train(load(settings(tmp_path, rows=rows, algorithm={"labels": "ranks"})))


@pytest.mark.parametrize("architecture", ["bert", "llama", "bart"])
def test_pairs_of_texts(architecture, tmp_path):
    assert run_of(tmp_path, architecture=architecture, rows=PAIRS).proven


def test_a_stopped_run_goes_on_to_the_same_result(tmp_path, monkeypatch):
    whole = run_of(tmp_path, "whole")
    recipe = load(settings(tmp_path, "part"))
    short = lambda **given: Course(**{**given, "num_steps": 2})  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["accorda.stages.train"], "Course", short)
        train(recipe)
    for name in ("result.json", "adapter"):
        path = tmp_path / "part" / name
        path.rename(tmp_path / f"aside-{name}")
    again = resume(tmp_path / "part")
    assert again.result["loss"] == whole.result["loss"]
    assert again.result["eval_loss"] == whole.result["eval_loss"]


def test_every_split_into_micro_batches_gives_the_same_gradient(tmp_path):
    found = []
    for rows in (1, 3, 8):
        recipe = settings(tmp_path, f"run{rows}", training={"micro_batch_size": rows}, data={"max_length": 16})
        session = build(load(recipe))
        event = session.loop.step()
        found.append((event["loss"], event["grad_norm"]))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0] == pytest.approx(found[2], rel=1e-4)


def test_the_report_stands_beside_the_commonest_class_and_a_probe(tmp_path):
    run = run_of(tmp_path)
    opened = open_model(run.folder.path)
    found = report(opened, metrics=("accuracy", "matthews", "eval_loss"))
    majority, probe, tuned = found["rows"]
    assert [majority["name"], probe["name"], tuned["name"]] == ["majority class", "linear probe", "tuned"]
    assert majority["metrics"]["matthews"]["value"] == 0.0
    assert probe["metrics"]["eval_loss"]["value"] < majority["metrics"]["eval_loss"]["value"]
    assert tuned["metrics"]["eval_loss"]["value"] == pytest.approx(run.result["eval_loss"], rel=1e-4)
    with pytest.raises(Refusal, match="rouge is about generated answers"):
        report(opened, metrics="rouge")
    bare = report(open_model(run.folder.adapter), [ROWS[0], ROWS[1]], "accuracy")
    assert [row["note"] for row in bare["rows"][:2]] == ["no training rows were named to learn from"] * 2


def test_a_plan_needs_no_data(tmp_path):
    recipe = settings(tmp_path)
    with_data = plan(recipe).total
    del recipe["data"]["train"]
    assert plan(recipe).total > 0.5 * with_data


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"rows": [{**row, "label": "pos"} for row in ROWS]}, "every row is labelled 'pos'"),
        ({"rows": [*ROWS, {"text": "a", "label": None}]}, "rows.jsonl:41: no label"),
        ({"training": {"packing": True}}, "each row is answered as a whole"),
        ({"evaluation": {"generate": 2}}, "a classifier writes no answers"),
        ({"evaluation": {"metrics": ["f1"]}}, "f1 is about generated answers"),
        ({"evaluation": {"metrics": ["pearson"]}}, "pearson is about predicted numbers"),
        ({"evaluation": {"best": "matthews"}}, "this run reports eval_loss, accuracy, f1_macro"),
        ({"data": {"columns": {"label": "stars"}}}, "no column 'stars'"),
        ({"data": {"format": "alpaca"}}, "have a text and a label"),
        ({"algorithm": {"lables": "auto"}}, "labels"),
        ({"architecture": "t5", "rows": [*ROWS, {"text": "an </s> inside", "label": "pos"}]}, "end-of-sequence token"),
    ],
)
def test_a_refused_run_leaves_nothing(sections, words, tmp_path):
    with pytest.raises(Refusal) as refused:
        run_of(tmp_path, **sections)
    assert words in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_metrics_of_classes_are_refused_where_text_is_generated(tmp_path):
    from tests.stages.runs import settings as of_text

    (tmp_path / "text").mkdir()
    with pytest.raises(Refusal, match="accuracy is about classes"):
        train(load(of_text(tmp_path / "text", evaluation={"metrics": ["accuracy"]})))
