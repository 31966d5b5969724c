"""The report of three rows: what each is measured with, on which rows, and what it says where a row is missing."""

import json

import pytest
import torch
from tests.zoo import tiny_model_folder

from accorda.cli.eval import notes
from accorda.data.prepare import prepare
from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.evaluation import bench
from accorda.evaluation.evaluate import evaluate
from accorda.evaluation.measure import measure
from accorda.evaluation.report import report
from accorda.methods.install import install, installed
from accorda.methods.open import Opened, open_model
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import routing, use
from accorda.methods.storage import save_adapter
from accorda.models.load import load_model, load_tokenizer
from accorda.recipe.load import load
from accorda.recipe.sections import DataSection
from accorda.recipe.write import dump
from accorda.runs.layout import RunFolder

ROWS = [{"question": f"What is {n}? ", "answer": f"It is {n}."} for n in range(40)]
NAMES = ["base", "base + 2 examples", "tuned"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model_folder(tmp_path_factory.mktemp("models"), max_position_embeddings=128)


@pytest.fixture(scope="module")
def run(base, tmp_path_factory):
    """A run folder as a training of an adapter leaves it."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "one")
    folder.path.mkdir()
    rows = folder.path.parent / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    columns = {"prompt": "question", "completion": "answer"}
    data = {"train": str(rows), "eval_split": 0.25, "columns": columns, "max_length": 128}
    recipe = load({"model": {"path": str(base)}, "data": data, "method": {"name": "lora"}, "training": {"seed": 3}})
    folder.recipe.write_text(dump(recipe))
    folder.result.write_text("{}")
    model = install(load_model(base), LoRA(rank=2), "default")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    renderer = Renderer(load_tokenizer(base), kind="completion")

    def beside(place):
        renderer.save(place)
        renderer.tokenizer.save_pretrained(str(place))

    save_adapter(model, folder.adapter, beside=beside)
    return folder


@pytest.fixture(scope="module")
def opened(run):
    return open_model(run.path)


@pytest.fixture(scope="module")
def found(opened):
    return report(opened, metrics=["perplexity", "f1"], shots=2, max_new_tokens=6)


def test_three_rows_with_metrics_and_intervals(found):
    assert [row["name"] for row in found["rows"]] == NAMES
    for row in found["rows"]:
        assert set(row["metrics"]) == {"perplexity", "f1"}
        assert row["metrics"]["perplexity"]["low"] < row["metrics"]["perplexity"]["value"]
        assert 0 <= row["stop_rate"] <= 1
    values = [row["metrics"]["perplexity"]["value"] for row in found["rows"]]
    assert len(set(values)) == 3
    assert found["metrics"] == [
        {"name": "perplexity", "direction": "lower"},
        {"name": "f1", "direction": "higher"},
    ]
    assert json.loads(json.dumps(found)) == found


def test_base_and_tuned_are_what_evaluate_measures_under_each_route(found, opened, run):
    before = routing(opened.model).route
    section = load(run.recipe).data
    renderer = Renderer(load_tokenizer(opened.tokenizer_source))
    held = report(opened, metrics=["eval_loss"], shots=0)["num_rows"]
    assert 4 <= held == found["num_rows"] <= 20, "the rows that the split sets apart"
    rows = prepare(section, renderer, max_length=128, split="eval", seed=3)
    for name, adapter in (("base", None), ("tuned", "default")):
        with use(opened.model, adapter):
            alone = evaluate(opened.model, renderer.tokenizer, rows, ["perplexity"], renderer=renderer)
        row = next(row for row in found["rows"] if row["name"] == name)
        assert row["metrics"]["perplexity"]["value"] == pytest.approx(alone["perplexity"])
        bounds = [row["metrics"]["perplexity"][bound] for bound in ("low", "high")]
        assert bounds == pytest.approx(alone["intervals"]["perplexity"])
    assert routing(opened.model).route == before


def test_the_base_gets_training_examples_and_none_of_the_questions(found, opened):
    shown = found["rows"][1]
    assert shown["shots"] == {"asked": 2, "least": 2, "mean": 2}
    assert found["rows"][0]["shots"] is None
    again = report(opened, metrics=["perplexity"], shots=2)["rows"][1]
    assert again["metrics"]["perplexity"] == shown["metrics"]["perplexity"], "drawn by the seed"
    other = report(opened, metrics=["perplexity"], shots=2, seed=1)["rows"][1]
    assert other["metrics"]["perplexity"] != shown["metrics"]["perplexity"]


def test_the_examples_are_shown_to_the_base_and_not_to_the_adapter(base, opened):
    rows = [{"prompt": row["question"], "completion": row["answer"]} for row in ROWS[:6]]
    columns = {"prompt": "prompt", "completion": "completion"}
    told = report(opened, rows, ["eval_loss"], columns=columns, train=rows, shots=1)["rows"]
    alone = report(open_model(base), rows, ["eval_loss"], train=rows, shots=1)["rows"]
    assert told[1]["metrics"]["eval_loss"]["value"] == pytest.approx(alone[1]["metrics"]["eval_loss"]["value"])
    assert told[1]["metrics"] != told[0]["metrics"]


def test_the_base_is_cut_where_it_would_make_up_one_more_example(opened, monkeypatch):
    seen = []

    def watched(*args, sampling, **more):
        seen.append(sampling.get("stop_texts"))
        return measure(*args, sampling=sampling, **more)

    monkeypatch.setattr(bench, "measure", watched)
    report(opened, metrics=["f1"], shots=1, limit=3, max_new_tokens=2, stop_texts=["?"])
    assert seen == [["?"], ("?", "\n\n"), ["?"]]


def test_everybodys_answers_side_by_side(found):
    assert len(found["samples"]) == 5
    for sample in found["samples"]:
        assert set(sample) == {"prompt", "reference", "answers"}
        assert sample["prompt"].startswith("What is")
        assert list(sample["answers"]) == NAMES


def test_answers_are_shown_even_where_only_likelihoods_are_measured(opened):
    found = report(opened, metrics="perplexity", shots=0, max_new_tokens=3)
    assert len(found["samples"]) == 5
    assert found["rows"][1]["note"] == "no examples were asked for"
    assert found["rows"][1]["metrics"] == {}


def test_other_rows_read_with_the_runs_columns_or_with_a_section(opened, tmp_path):
    path = tmp_path / "more.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:6]))
    found = report(opened, path, ["eval_loss"], limit=4, shots=1)
    assert found["num_rows"] == 4
    plain = [{"prompt": row["question"], "completion": row["answer"]} for row in ROWS[:4]]
    section = report(opened, DataSection(eval=plain), ["eval_loss"], shots=1)
    named = report(opened, plain, ["eval_loss"], columns={"prompt": "prompt", "completion": "completion"}, shots=1)
    for rows in zip(found["rows"], section["rows"], named["rows"], strict=True):
        assert rows[0]["metrics"] == rows[1]["metrics"] == rows[2]["metrics"]
    with pytest.raises(Refusal, match="no column 'question'"):
        report(opened, plain, ["eval_loss"])


def test_a_context_without_room_says_so(opened):
    rows = [{"prompt": "word " * 18, "completion": "no"}, {"prompt": "What is 1? ", "completion": "It is 1."}]
    shown = report(opened, DataSection(eval=rows), ["eval_loss"], shots=2)["rows"][1]
    assert shown["shots"]["asked"] == 2
    assert shown["shots"]["mean"] == 1 + shown["shots"]["least"] / 2
    assert shown["note"].startswith("1 of 2 rows had room for fewer")


def test_a_plain_model_is_a_base_without_a_tuned_row(base):
    rows = [{"prompt": row["question"], "completion": row["answer"]} for row in ROWS[:5]]
    found = report(open_model(base), rows, ["eval_loss"])
    assert [bool(row["metrics"]) for row in found["rows"]] == [True, False, False]
    assert "no training rows were named" in found["rows"][1]["note"]
    assert "no adapter" in found["rows"][2]["note"]
    shown = report(open_model(base), rows, ["eval_loss"], train=rows, shots=1)["rows"][1]
    assert shown["shots"]["mean"] == 1
    with pytest.raises(Refusal, match="data: no rows to evaluate with"):
        report(open_model(base))


def test_a_run_that_trained_everything_is_compared_with_what_it_started_from(base, run, tmp_path):
    folder = RunFolder(tmp_path)
    folder.recipe.write_text(run.recipe.read_text())
    model = load_model(base)
    with torch.no_grad():
        model.lm_head.weight.mul_(0)
    whole = Opened(model, str(base), str(folder.model), None, folder, None)
    found = report(whole, metrics=["eval_loss"], shots=1)
    values = [row["metrics"]["eval_loss"]["value"] for row in found["rows"]]
    assert values[2] == pytest.approx(torch.log(torch.tensor(float(model.config.vocab_size))).item())
    adapted = report(open_model(run.path), metrics=["eval_loss"], shots=0)["rows"][0]
    assert values[0] == pytest.approx(adapted["metrics"]["eval_loss"]["value"])
    assert not installed(model)


def test_a_run_from_random_weights_has_no_base(base, run, tmp_path):
    folder = RunFolder(tmp_path)
    folder.recipe.write_text(run.recipe.read_text().replace("config: null", f"config: {base}"))
    whole = Opened(load_model(base), str(base), str(folder.model), None, folder, None)
    rows = report(whole, metrics=["eval_loss"], shots=1)["rows"]
    assert [bool(row["metrics"]) for row in rows] == [False, False, True]
    assert rows[0]["note"] == "the run started from random weights, which are no base to compare with"


def test_a_base_or_training_rows_that_are_gone_leave_a_note(base, run, tmp_path):
    folder = RunFolder(tmp_path)
    folder.recipe.write_text(run.recipe.read_text().replace("rows.jsonl", "gone.jsonl").replace(str(base), "./gone"))
    rows = [{"question": row["question"], "answer": row["answer"]} for row in ROWS[:5]]
    found = report(Opened(load_model(base), str(base), None, None, folder, None), rows, ["eval_loss"])
    assert [bool(row["metrics"]) for row in found["rows"]] == [False, False, True]
    assert "gone" in found["rows"][0]["note"]
    adapted = open_model(run.path)
    adapted = Opened(adapted.model, adapted.tokenizer_source, str(base), "default", folder, adapted.renderer_path)
    found = report(adapted, rows, ["eval_loss"])
    assert [bool(row["metrics"]) for row in found["rows"]] == [True, False, True]
    assert "gone.jsonl" in found["rows"][1]["note"]


def test_rows_that_were_trained_on_are_counted(opened, run, tmp_path):
    learned = len(ROWS) - report(opened, metrics=["perplexity"], shots=0)["num_rows"]
    rows = [*ROWS, {"question": "What is new? ", "answer": "This row is."}]
    (tmp_path / "known.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = report(opened, str(tmp_path / "known.jsonl"), metrics=["perplexity"], shots=0)
    assert found["data"]["trained_on"] == learned > 0
    assert f"{learned} of them were trained on" in notes(found)[0]
    (tmp_path / "new.jsonl").write_text(json.dumps(rows[-1]) + "\n")
    assert report(opened, str(tmp_path / "new.jsonl"), metrics=["perplexity"], shots=0)["data"]["trained_on"] == 0
