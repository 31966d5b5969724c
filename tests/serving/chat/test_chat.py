"""Who answers what: streams equal `generate`, the base is the untouched base, nothing is cut in silence."""

import pytest
import torch

from accorda.data.example import Example, Message
from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.generation.sampling import Sampling
from accorda.generation.text import generate
from accorda.methods.open import open_model
from accorda.models.load import load_model, load_tokenizer
from accorda.serving.chat import voices
from accorda.serving.chat.chat import Chat
from accorda.serving.chat.voices import Voices

SAMPLING = Sampling(max_new_tokens=12)


def chat(path, **settings) -> Chat:
    return Chat(Voices.open(str(path)), Sampling(**{"max_new_tokens": 12, **settings}))


def say(chat: Chat, text: str) -> list:
    chat.history.ask(text)
    answers = chat.answers()
    pieces = ["".join(answer) for answer in answers]
    assert pieces == [answer.completion.text for answer in answers]
    chat.keep(answers)
    return answers


def conversation(chat: Chat) -> list[dict]:
    return [{"role": message.role, "content": message.content} for message in chat.history.messages]


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.2, "seed": 5, "top_p": 0.9}])
def test_every_answer_is_what_generate_gives_for_the_conversation(settings, place):
    talk = chat(place / "one", **settings)
    model, tokenizer = open_model(place / "one").model, load_tokenizer(place / "one")
    talk.history.system = "Be brief."
    for question in ("Who is Lily?", "And Natalia?"):
        (answer,) = say(talk, question)
        (expected,) = generate(model, tokenizer, conversation(talk)[:-1], **vars(talk.sampling))
        assert answer.completion.token_ids == expected.token_ids
        assert answer.completion.text == expected.text
        assert talk.history.messages[-1] == Message(role="assistant", content=expected.text)


def test_the_base_answers_bit_for_bit_as_if_no_adapter_had_ever_been_loaded(place):
    talk = chat(place / "one")
    talk.voices.use_adapter(str(place / "two"))
    talk.voices.use_adapter(str(place / "one"))
    tuned = say(talk, "Who is Lily?")[0]
    talk.history.undo()
    talk.voices.use_base()
    (answer,) = say(talk, "Who is Lily?")
    untouched = load_model(place / "base" / "llama")
    (expected,) = generate(untouched, load_tokenizer(place / "one"), conversation(talk)[:1], max_new_tokens=12)
    assert answer.completion == expected
    assert answer.completion != tuned.completion
    talk.history.undo()
    talk.voices.use_tuned()
    assert say(talk, "Who is Lily?")[0].completion == tuned.completion


def test_both_answer_the_same_prompt_and_the_tuned_one_is_kept(place):
    talk = chat(place / "one")
    talk.voices.use_both()
    talk.history.ask("Who is Lily?")
    base, tuned = talk.answers()
    runs = [iter(base), iter(tuned)]
    while any([next(run, None) is not None for run in runs]):  # in turns, as they stand side by side
        pass
    assert base.prompt == tuned.prompt
    assert (base.voice.name, tuned.voice.name) == ("base", "one")
    talk.keep([base, tuned])
    assert talk.history.messages[-1].content == tuned.completion.text != base.completion.text
    talk.history.reopen()
    for use, both in ((talk.voices.use_base, base), (talk.voices.use_tuned, tuned)):
        use()
        (alone,) = talk.answers()
        "".join(alone)
        assert alone.completion == both.completion


def test_an_adapter_answers_through_its_own_renderer(place):
    talk = chat(place / "one")
    say(talk, "Who is Lily?")
    talk.voices.use_adapter(str(place / "two"))
    assert not talk.remembers
    assert "each message is a prompt of its own" in next(talk.opening())
    (answer,) = say(talk, "Natalia sold")
    tokenizer = load_tokenizer(place / "two")
    renderer = Renderer.load(place / "two", tokenizer)
    assert answer.prompt == renderer.prompt_ids(Example(prompt="Natalia sold"))
    model = open_model(place / "two").model
    assert [answer.completion] == generate(model, tokenizer, "Natalia sold", renderer=renderer, max_new_tokens=12)


def test_an_adapter_on_a_bare_model(place):
    talk = chat(place / "base" / "llama")
    bare = say(talk, "Who?")[0].completion
    with pytest.raises(Refusal, match="/base: llama has no adapter to leave out"):
        talk.voices.use_base()
    talk.voices.use_adapter(str(place / "one"))
    talk.history.undo()
    expected = generate(
        open_model(place / "one").model,
        load_tokenizer(place / "one"),
        [{"role": "user", "content": "Who?"}],
        max_new_tokens=12,
    )
    assert say(talk, "Who?")[0].completion == expected[0]
    talk.history.undo()
    talk.voices.use_base()
    assert say(talk, "Who?")[0].completion == bare


@pytest.mark.parametrize(("name", "words"), [("foreign", "another"), ("base", "no adapter"), ("nowhere", "nowhere")])
def test_what_is_no_adapter_of_this_base_is_refused_and_changes_nothing(name, words, place):
    talk = chat(place / "one")
    with pytest.raises(Refusal, match=words):
        talk.voices.use_adapter(str(place / name))
    assert list(talk.voices.known) == [str(place / "one")]
    assert talk.voices.speaking[0].name == "one"


def test_a_model_without_a_template_gets_each_message_as_a_prompt(place):
    talk = chat(place / "plain" / "llama")
    assert "no chat template" in next(talk.opening())
    say(talk, "Once upon")
    (answer,) = say(talk, "Natalia sold")
    assert answer.prompt == load_tokenizer(place / "plain" / "llama")("Natalia sold").input_ids


def test_a_full_context_leaves_the_oldest_out_and_says_so(place):
    talk = chat(place / "one")
    talk.history.system = "Sys."
    for number in range(12):
        (answer,) = say(talk, f"Question number {number}")
        assert len(answer.prompt) + 12 <= 256
        assert bool(answer.left_out) == bool(answer.before())
        if answer.left_out:
            break
    shown = answer.voice.renderer.tokenizer.decode(answer.prompt)
    assert "Sys." in shown
    assert "Question number 0" not in shown
    assert f"Question number {number}" in shown
    assert answer.before() == [
        "the model's context holds 256 tokens: the oldest question was left out, with what followed"
    ]
    assert len(talk.history.messages) == 2 * number + 3


@pytest.mark.parametrize(("max_new_tokens", "room"), [(60, 60), (9999, 128)])
def test_an_answer_keeps_the_room_it_may_take_or_half_of_the_context(max_new_tokens, room, place):
    talk = chat(place / "one", max_new_tokens=max_new_tokens)
    for number in range(12):
        talk.history.ask(f"Question number {number}")
        (answer,) = talk.answers()
        assert len(answer.prompt) + room <= 256
        talk.history.answer("An answer.")
    assert answer.left_out > 1
    assert answer.before()[0].endswith(f"the {answer.left_out} oldest questions were left out, with what followed")


def test_a_message_that_cannot_fit_is_refused_and_one_that_just_fits_is_answered_briefly(place):
    talk = chat(place / "one", max_new_tokens=50)
    talk.history.ask("x" * 400)
    with pytest.raises(Refusal, match=r"takes \d+ tokens and the model's context holds 256"):
        talk.answers()
    talk.history.undo()
    (answer,) = say(talk, "x" * 220)
    assert len(answer.completion.token_ids) < 50
    assert answer.completion.stopped or "the context of 256 tokens is full" in answer.after()[-1]


def test_why_an_answer_ended_is_told(place):
    talk = chat(place / "one")
    (answer,) = say(talk, "Who?")
    assert not answer.completion.stopped
    assert answer.after() == ["cut after 12 tokens; /settings max_new_tokens=24 allows more"]
    talk.history.reopen()
    (answer,) = talk.answers()
    next(iter(answer))
    answer.stop()
    assert answer.after()[-1] == "stopped; what was said is kept"
    kept = answer.completion.text
    talk.keep([answer])
    assert talk.history.messages[-1].content == kept


def test_the_model_is_as_before_between_pieces(place):
    talk = chat(place / "one")
    talk.history.ask("Who?")
    talk.voices.use_base()
    (answer,) = talk.answers()
    ids = torch.tensor([[5, 9, 31]])
    with torch.no_grad():
        before = talk.voices.model(input_ids=ids).logits
        next(iter(answer))
        assert torch.equal(talk.voices.model(input_ids=ids).logits, before)


def test_what_was_read_is_not_read_again_where_it_costs_much_and_each_voice_reads_for_itself(place, monkeypatch):
    cheap = chat(place / "one")
    (first,), (second,) = say(cheap, "Who is Lily?"), say(cheap, "And Natalia?")
    monkeypatch.setattr(voices, "CHEAP", 0.0)
    talk = chat(place / "one")
    (first,) = say(talk, "Who is Lily?")
    fed = []
    talk.voices.model.model.register_forward_pre_hook(
        lambda module, args, given: fed.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    (other,) = say(talk, "And Natalia?")
    assert other.completion.token_ids == second.completion.token_ids
    assert other.completion.log_probs == pytest.approx(second.completion.log_probs, abs=1e-4)
    assert fed[0] < len(second.prompt) - len(first.prompt) + 2
    fed.clear()
    talk.voices.use_base()
    talk.history.reopen()
    (base,) = talk.answers()
    "".join(base)
    assert fed[0] == len(base.prompt) == len(second.prompt)
