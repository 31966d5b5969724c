"""Every command does what its line in /help says, or refuses and changes nothing."""

import json
from pathlib import Path

import pytest

from accorda.data.formats import messages
from accorda.data.read import read_file
from accorda.errors import Refusal
from accorda.generation.sampling import Sampling
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import freeze, install, installed
from accorda.methods.storage import save_adapter
from accorda.models.load import load_model
from accorda.serving.chat.chat import Chat
from accorda.serving.chat.commands import COMMANDS, obey
from accorda.serving.chat.voices import Voices


@pytest.fixture(scope="module")
def voices(place):
    return Voices.open(str(place / "one"))


@pytest.fixture
def chat(voices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    voices.use_tuned()
    made = Chat(voices, Sampling(max_new_tokens=5))
    for question, answer in (("a", "1"), ("b", "2")):
        made.history.ask(question)
        made.history.answer(answer)
    return made


def texts(chat):
    return [message.content for message in chat.history.messages]


def test_help_names_every_command(chat):
    shown = obey(chat, "/help").text
    assert all(f"/{name}" in shown for name in COMMANDS)


@pytest.mark.parametrize(
    ("line", "left", "answer"),
    [
        ("/undo", ["a", "1"], False),
        ("/retry", ["a", "1", "b"], True),
        ("/edit  c d ", ["a", "1", "c d"], True),
        ("/reset", [], False),
        ("/system S", ["S", "a", "1", "b", "2"], False),
        ("/history", ["a", "1", "b", "2"], False),
    ],
)
def test_what_is_left_of_the_conversation(line, left, answer, chat):
    assert obey(chat, line).answer == answer
    assert texts(chat) == left


def test_system_is_shown_and_removed(chat):
    obey(chat, "/system Be brief.")
    assert obey(chat, "/system").text == "Be brief."
    obey(chat, "/system -")
    assert texts(chat) == ["a", "1", "b", "2"]


def test_retry_draws_another_answer_or_says_why_not(chat):
    assert "temperature" in obey(chat, "/retry").text
    chat.history.answer("2")
    obey(chat, "/settings temperature=0.7 seed=4")
    assert obey(chat, "/retry").text == "seed=5"
    assert chat.sampling.seed == 5


def test_settings_are_read_strictly(chat):
    shown = obey(chat, "/settings temperature=0.7 stop_texts=[x]").text
    assert "temperature=0.7" in shown
    assert chat.sampling == Sampling(max_new_tokens=5, temperature=0.7, stop_texts=("x",))
    for line, words in (
        ("temprature=1", "did you mean temperature"),
        ("top_p=2", "top_p = 2"),
        ("top_p", "NAME=VALUE"),
    ):
        with pytest.raises(Refusal, match=words):
            obey(chat, f"/settings {line}")
    assert chat.sampling == Sampling(max_new_tokens=5, temperature=0.7, stop_texts=("x",))


def test_who_answers(chat, place):
    assert "base" in obey(chat, "/base").text
    assert [voice.adapter for voice in chat.voices.speaking] == [None]
    obey(chat, "/both")
    assert [voice.name for voice in chat.voices.speaking] == ["base", "one"]
    assert "prompt of its own" in obey(chat, f"/adapter {place / 'two'}").text
    obey(chat, f"/adapter {place / 'one'}")
    assert chat.remembers
    assert obey(chat, "/adapter").text.splitlines() == [str(place / "one"), str(place / "two")]
    assert obey(chat, "/quit").leave


def test_what_is_saved_is_what_train_reads_and_load_gives_back(chat):
    obey(chat, "/system S")
    chat.history.ask("unanswered")
    assert "1 row " in obey(chat, "/save talk.jsonl").text
    ((_, _, row),) = read_file(Path("talk.jsonl"), "talk.jsonl")
    assert [message["content"] for message in row["messages"]] == ["S", "a", "1", "b", "2"]
    assert chat.voices.speaking[0].renderer.render(messages.parse(row)).supervised.any()
    obey(chat, "/save talk.jsonl")  # its own file
    obey(chat, "/reset")
    assert obey(chat, "/load talk.jsonl").text.startswith("row 1 of 1: 5 messages")
    assert texts(chat) == ["S", "a", "1", "b", "2"]


def test_prompts_are_saved_as_prompts(chat, place):
    obey(chat, f"/adapter {place / 'two'}")
    obey(chat, "/save rows.jsonl")
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert rows == [{"prompt": "a", "completion": "1"}, {"prompt": "b", "completion": "2"}]
    obey(chat, "/reset")
    obey(chat, "/load rows.jsonl")
    assert texts(chat) == ["a", "1", "b", "2"]
    obey(chat, f"/adapter {place / 'one'}")
    obey(chat, "/load rows.jsonl 2")
    assert texts(chat) == ["b", "2"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/rety", "did you mean /retry?"),
        ("/xyzzy", "/help lists them"),
        ("/undo 3", "/undo takes nothing"),
        ("/save", "write /save FILE"),
        ("/save mine.jsonl", "never replaced"),
        ("/save x.txt", "ends in .jsonl"),
        ("/save no/where.jsonl", "no folder no"),
        ("/load nowhere.jsonl", "no such file"),
        ("/load mine.jsonl 7", "the file has 1 rows"),
        ("/load bad.jsonl", "bad.jsonl:1: bad JSON"),
        ("/load text.jsonl", "plain text"),
        ("/adapter nowhere", "nowhere"),
    ],
)
def test_refused(line, words, chat):
    Path("mine.jsonl").write_text('{"prompt": "x", "completion": "y"}\n')
    Path("bad.jsonl").write_text('{"prompt"\n')
    Path("text.jsonl").write_text('{"text": "x"}\n')
    before = texts(chat), sorted(path.name for path in Path(".").iterdir())
    with pytest.raises(Refusal, match=words.replace("?", r"\?")):
        obey(chat, line)
    assert before == (texts(chat), sorted(path.name for path in Path(".").iterdir()))


def test_an_adapter_whose_vectors_stand_at_placeholders_is_refused_and_taken_off(chat, place, tmp_path):
    model = install(freeze(load_model(place / "base" / "llama")), PromptTuning(placement="placeholder"))
    save_adapter(model, tmp_path / "placed")
    on_it = list(installed(chat.voices.model))
    with pytest.raises(Refusal, match="rows of text hold no placeholders"):
        obey(chat, f"/adapter {tmp_path / 'placed'}")
    assert list(installed(chat.voices.model)) == on_it
    with pytest.raises(Refusal, match="rows of text hold no placeholders"):
        Voices.open(str(tmp_path / "placed"))


def test_an_empty_answer_is_nothing_to_learn_from(chat):
    chat.history.ask("c")
    chat.history.answer(" ")
    with pytest.raises(Refusal, match="answer 3 is empty"):
        obey(chat, "/save x.jsonl")
