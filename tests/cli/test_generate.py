import io
import json
import sys

import pytest
import torch

from accorda.cli.main import main
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import freeze, install
from accorda.methods.open import open_model
from accorda.methods.storage import companions, save_adapter
from accorda.models.load import load_model, load_tokenizer

FEW = ("--max-new-tokens", "5")


def told(capsys, *arguments: str) -> list[dict]:
    assert main(["generate", *arguments, *FEW, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["completions"]


def greedy(model, ids: list[int]) -> list[int]:
    """Five tokens by the largest logit of a full forward each."""
    given = list(ids)
    for _ in range(5):
        given.append(int(model(torch.tensor([given])).logits[0, -1].argmax()))
    return given[len(ids) :]


@torch.no_grad()
def test_prompts_from_flags_are_continued_greedily(tiny, capsys):
    model, tokenizer = load_model(tiny), load_tokenizer(tiny)
    found = told(capsys, str(tiny), "--prompt", "Once upon a time", "--prompt", "Natalia sold")
    for item, prompt in zip(found, ("Once upon a time", "Natalia sold"), strict=True):
        expected = greedy(model, tokenizer(prompt)["input_ids"])
        assert item["token_ids"] == expected[: len(item["token_ids"])]
        assert item["prompt"].endswith(prompt)


@torch.no_grad()
def test_an_adapter_acts(adapter, capsys):
    model, tokenizer = open_model(adapter).model, load_tokenizer(adapter)
    (found,) = told(capsys, str(adapter), "--prompt", "Once upon a time")
    assert found["token_ids"] == greedy(model, tokenizer("Once upon a time")["input_ids"])[: len(found["token_ids"])]


@pytest.mark.parametrize("arguments", [("generate", "--prompt", "one"), ("eval", "--data", "rows.jsonl")], ids=str)
def test_vectors_at_placeholders_are_refused_where_ids_are_made_from_text(
    arguments, tiny, tmp_path, monkeypatch, capsys
):
    model = install(freeze(load_model(tiny)), PromptTuning(placement="placeholder"))
    save_adapter(model, tmp_path / "placed", beside=companions(load_tokenizer(tiny)))
    verb, *more = arguments
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"text": "one two"}\n', encoding="utf-8")
    assert main([verb, str(tmp_path / "placed"), *more]) == 2
    assert "placement = placeholder: rows of text hold no placeholders" in capsys.readouterr().err


def test_standard_input_is_one_prompt(tiny, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Once upon\na time\n"))
    (found,) = told(capsys, str(tiny))
    assert found["prompt"].endswith("Once upon\na time")


def test_with_chat_a_prompt_is_what_a_user_says(tiny, capsys):
    (found,) = told(capsys, str(tiny), "--prompt", "Hello", "--chat")
    assert found["prompt"].endswith("<|user|>\nHello</s>\n<|assistant|>\n")


def test_rows_of_a_file(tiny, capsys, tmp_path):
    rows = [
        {"prompt": "one"},
        {"prompt": "two", "completion": "not shown"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = told(capsys, str(tiny), "--file", str(tmp_path / "a.jsonl"))
    assert [item["prompt"].removeprefix("<s>").strip() for item in found] == ["one", "two"]
    (tmp_path / "b.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "three"}]}))
    (found,) = told(capsys, str(tiny), "--file", str(tmp_path / "b.jsonl"))
    assert "<|user|>\nthree" in found["prompt"]
    (tmp_path / "c.csv").write_text("question,answer\nfour,4\n")
    (found,) = told(capsys, str(tiny), "--file", str(tmp_path / "c.csv"), "--column", "prompt=question")
    assert found["prompt"].endswith("four")


def test_what_is_drawn_follows_from_temperature_and_seed(tiny, capsys):
    ask = (str(tiny), "--prompt", "Once upon a time")
    greedily, again = told(capsys, *ask), told(capsys, *ask, "--seed", "7")
    assert greedily == again
    drawn = [told(capsys, *ask, "--temperature", "5", "--seed", seed)[0]["token_ids"] for seed in ("1", "1", "2")]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    (likeliest,) = told(capsys, *ask, "--temperature", "5", "--top-k", "1")
    assert likeliest["token_ids"] == greedily[0]["token_ids"]


def test_answers_end_at_a_stop_text_and_at_the_renderers_stop_tokens(tiny, capsys, monkeypatch):
    (whole,) = told(capsys, str(tiny), "--prompt", "Once upon a time")
    middle = whole["text"][1:3]
    (cut,) = told(capsys, str(tiny), "--prompt", "Once upon a time", "--stop", middle)
    assert cut["stopped"]
    assert cut["text"] == whole["text"].partition(middle)[0]
    from accorda.data.renderer import Renderer

    monkeypatch.setattr(Renderer, "stop_ids", (whole["token_ids"][2],))
    (ended,) = told(capsys, str(tiny), "--prompt", "Once upon a time")
    assert ended["token_ids"] == whole["token_ids"][: whole["token_ids"].index(whole["token_ids"][2]) + 1]


def test_one_answer_alone_is_printed_as_it_is(tiny, capsys):
    (found,) = told(capsys, str(tiny), "--prompt", "Once")
    assert main(["generate", str(tiny), "--prompt", "Once", *FEW]) == 0
    assert capsys.readouterr().out == found["text"].rstrip("\n") + "\n"


def test_an_empty_answer_is_told(tiny, capsys, caplog, monkeypatch):
    from accorda.data.renderer import Renderer

    (found,) = told(capsys, str(tiny), "--prompt", "Once upon a time")
    monkeypatch.setattr(Renderer, "stop_ids", (found["token_ids"][0],))
    (ended,) = told(capsys, str(tiny), "--prompt", "Once upon a time")
    assert (ended["text"], ended["stopped"]) == ("", True)
    assert "the answer is empty: the model ended it at once" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "RUN: missing; accorda generate --help tells what it is"),
        (["MODEL", "--prompt", ""], "--prompt: must not be empty"),
        (["MODEL", "--file", "nope.jsonl"], "--file nope.jsonl: no such file"),
        (["MODEL", "--file", "bad.jsonl"], "bad.jsonl:2: "),
        (["MODEL", "--file", "empty.jsonl"], "--file empty.jsonl: the file is empty"),
        (
            ["MODEL", "--prompt", "a", "--max-new-tokens", "0"],
            "--max-new-tokens: 0 must be a whole number of at least 1",
        ),
        (["MODEL", "--prompt", "a", "--top-p", "2"], "--top-p: 2 must be a number of at least 0 and at most 1"),
        (["MODEL", "--prompt", "a", "--top-p", "0"], "sampling.top_p = 0.0: must be a number above 0 and of at most 1"),
        (["MODEL", "--prompt", "a", "--temperature", "nan"], "--temperature: nan must be a number of at least 0"),
        (["MODEL"], "standard input: is empty; give --prompt TEXT, --file F, or text there"),
        (["nope", "--prompt", "a"], "model.path = nope: no such folder"),
        (["bundel", "--prompt", "a"], "model.path = bundel: no such folder; did you mean bundled?"),
        (["MODEL", "--prompt", "a", "--column", "a=b"], "--column: names columns of --file, which is not given"),
        (["MODEL", "--prompt", "a", "--column", "prompt"], "--column prompt: write it as ours=theirs"),
    ],
)
def test_what_cannot_be_answered(arguments, line, tiny, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a"}\n{"prompt"\n')
    (tmp_path / "empty.jsonl").touch()
    assert main(["generate", *(str(tiny) if word == "MODEL" else word for word in arguments)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {line}")
