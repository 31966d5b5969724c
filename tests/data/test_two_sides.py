"""Rows of encoder-decoders: the ids of either side, what is learned, what is too long, and their batches."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.zoo import tiny_tokenizer
from tokenizers import processors

from accorda.data.batch import IGNORE_INDEX, pack_batch, pad_batch
from accorda.data.example import Example, Message, RowError
from accorda.data.overlong import SPAN, fit_sides
from accorda.data.prepare import prepare
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches, padded_groups
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection

T5, BART = "$A </s>", "<s> $A </s>"
START = 0
PAIRS = [{"prompt": f"How many clips in {n}?", "completion": f"The answer is {n}."} for n in range(20)]


def tokenizer(frame: str, chat_template: bool = False):
    """One that puts T5's or BART's tokens around a text."""
    made = tiny_tokenizer(chat_template, add_bos=False)
    tokens = [("<s>", 1), ("</s>", 2)]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=frame, pair=f"{frame} $B", special_tokens=tokens
    )
    return made


def renderer(frame: str = T5, chat_template: bool = False, **settings) -> Renderer:
    return Renderer(tokenizer(frame, chat_template), decoder_start=START, **settings)


@pytest.fixture(params=[T5, BART], ids=["t5", "bart"])
def frame(request) -> str:
    return request.param


def test_the_encoder_reads_what_generate_feeds_and_the_decoder_learns_to_the_end(frame):
    made = renderer(frame)
    row = made.render(Example(prompt="How many?", completion=" 72 clips"))
    asked, answer = made.tokenizer("How many?")["input_ids"], made.tokenizer(text_target=" 72 clips")["input_ids"]
    assert row.input_ids.tolist() == [*asked, START, *answer]
    assert asked == made.prompt_ids(Example(prompt="How many?"))
    assert row.encoder_length == row.prompt_length == len(asked)
    assert asked[-1] == answer[-1] == 2
    assert row.supervised.tolist() == [False] * (len(asked) + 1) + [True] * len(answer)
    assert made.stop_ids == (2,)


def test_an_end_is_added_where_the_tokenizer_writes_none_and_a_start_is_not_doubled():
    bare = Renderer(tiny_tokenizer(False, add_bos=False), decoder_start=START)
    assert bare.render(Example(prompt="a", completion="b")).input_ids[-1] == 2
    begun = Renderer(tokenizer(BART), decoder_start=1).render(Example(prompt="a", completion="b"))
    assert begun.input_ids[begun.encoder_length :].tolist().count(1) == 1


def test_many_rows_are_each_alone(frame):
    made = renderer(frame)
    examples = [Example(prompt=row["prompt"], completion=row["completion"]) for row in PAIRS]
    for together, example in zip(made.render_many(examples), examples, strict=True):
        assert not isinstance(together, RowError)
        assert together.input_ids.tolist() == made.render(example).input_ids.tolist()


def chat(*turns: str, system: str = "") -> Example:
    roles = ("user", "assistant") * len(turns)
    messages = [Message(role=role, content=text) for role, text in zip(roles, turns, strict=False)]
    return Example(messages=(*([Message(role="system", content=system)] if system else []), *messages))


def test_without_a_template_a_conversation_is_one_question_with_its_answer():
    made = renderer()
    wanted = made.render(Example(prompt="Be brief.\n\nHow many?", completion="72"))
    assert made.render(chat("How many?", "72", system="Be brief.")).input_ids.tolist() == wanted.input_ids.tolist()
    assert made.prompt_ids(chat("How many?")) == made.prompt_ids(Example(prompt="How many?"))
    assert made.completion_text(chat("How many?", "72")) == "72"
    assert made.trimmed(chat("How many?", "72")).kind == "completion"
    with pytest.raises(RowError, match="without a chat template reads one question"):
        made.trimmed(chat("one", "two", "three", "four"))


def test_with_a_template_earlier_turns_are_read_and_the_last_answer_is_learned():
    made = renderer(chat_template=True, supervise="last")
    row = made.render(chat("one", "two", "three", "four"))
    text = "<|user|>\none</s>\n<|assistant|>\ntwo</s>\n<|user|>\nthree</s>\n<|assistant|>\n"
    assert made.tokenizer.decode(row.input_ids[: row.encoder_length]) == f"{text}</s>"
    assert made.tokenizer.decode(row.input_ids[row.encoder_length + 1 :]) == "four</s>"
    assert made.prompt_ids(chat("one", "two", "three")) == row.input_ids[: row.encoder_length].tolist()
    with pytest.raises(RowError, match=r"one answer per row, not 2: say data.supervise=last"):
        renderer(chat_template=True).render(chat("one", "two", "three", "four"))


@pytest.mark.parametrize(
    ("example", "why"),
    [
        (Example(text="once upon a time"), "plain text has no prompt for the encoder"),
        (Example(prompt="a"), "a prompt without a completion"),
        (Example(prompt="a", completion=""), "no token to learn"),
        (chat("a", " "), "empty completion"),
        (Example(messages=(Message(role="assistant", content="a"),)), "reads one question"),
        (
            Example(
                messages=(Message(role="user", content="a"), Message(role="assistant", content="b", reasoning="c"))
            ),
            "need a chat template",
        ),
    ],
)
def test_rows_that_have_not_both_sides(example, why):
    with pytest.raises(RowError, match=why):
        renderer().render(example)


def test_an_encoder_with_nothing_to_read_is_refused():
    bare = Renderer(tiny_tokenizer(False, add_bos=False), decoder_start=START)
    with pytest.raises(RowError, match="empty prompt"):
        bare.render(Example(prompt="", completion="b"))


def test_a_stored_renderer_gives_the_same_ids(tmp_path, frame):
    made = renderer(frame)
    made.save(tmp_path)
    again = Renderer.load(tmp_path, made.tokenizer)
    assert again.to_dict() == made.to_dict()
    assert again.digest == made.digest != Renderer(made.tokenizer).digest
    example = chat("How many?", "72")
    assert again.render(example).input_ids.tolist() == made.render(example).input_ids.tolist()


def dataset(tmp_path: Path, made: Renderer, rows=PAIRS, **settings):
    length = settings.pop("max_length", 64)
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    section = DataSection(train=str(file), eval_split=0.0, **settings)
    return prepare(section, made, max_length=length, store_folder=tmp_path / "cache")


@pytest.mark.parametrize(
    ("policy", "kept", "sides"),
    [
        ("skip", [0], [(4, 4)]),
        ("truncate_prompt", [0, 1], [(4, 4), (5, 4)]),
        ("truncate", [0, 1, 2, 3], [(4, 4), (5, 4), (4, 5), (5, 5)]),
    ],
)
def test_either_side_may_have_max_length_tokens(policy, kept, sides):
    encoder, lengths = np.array([4, 9, 4, 9]), np.array([8, 13, 14, 19])
    spans = np.zeros(4, SPAN)
    spans["start"] = spans["cut"] = np.cumsum([0, *lengths[:-1]])
    spans["end"] = np.cumsum(lengths)
    fitted = fit_sides(spans, encoder, 5, policy, num_prefix=1)
    assert fitted.kept.tolist() == kept
    removed = fitted.spans["cut"] - fitted.spans["start"] - fitted.spans["head"]
    left = encoder[kept] - removed
    whole = fitted.spans["head"] + fitted.spans["end"] - fitted.spans["cut"]
    assert list(zip(left.tolist(), (whole - left).tolist(), strict=True)) == sides
    assert fitted.shortened.tolist() == [side != (4, 4) for side in sides]


def test_cut_prompts_keep_their_end_and_cut_answers_their_beginning(tmp_path):
    rows = [{"prompt": "question " * 30 + "now?", "completion": "answer " * 30}]
    made = renderer(BART)
    whole = made.render(Example(**rows[0]))
    found = dataset(tmp_path, made, rows, max_length=16, overlong="truncate")
    (segment,) = list(found)
    assert len(segment.encoder_ids) == len(segment.decoder_ids) == 16
    assert segment.encoder_ids.tolist() == [1, *whole.input_ids[: whole.encoder_length][-15:]]
    assert segment.decoder_ids.tolist() == whole.input_ids[whole.encoder_length :][:16].tolist()
    assert found.prompt_ids(0) == segment.encoder_ids.tolist()
    assert found.report.lengths["p100"] == max(whole.encoder_length, len(whole.input_ids) - whole.encoder_length)
    with pytest.raises(Refusal, match="more than a quarter"):
        dataset(tmp_path, made, rows, max_length=16)


def test_running_text_is_refused(tmp_path):
    section = DataSection(train=[{"text": "once upon a time"}], eval_split=0.0)
    with pytest.raises(Refusal, match="running text has no answer for a decoder"):
        prepare(section, renderer(), max_length=8, stage="pretrain", store_folder=tmp_path)
    with pytest.raises(Refusal, match="plain text has no prompt for the encoder"):
        prepare(section, renderer(), max_length=8, store_folder=tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_holds_both_sides_of_every_row(tmp_path, packed, frame):
    found = dataset(tmp_path, renderer(frame), PAIRS[8:12])
    segments = [found[row] for row in range(len(found))]
    batch = pack_batch(segments) if packed else pad_batch(segments, pad_id=0)
    inputs = batch.inputs()
    assert inputs.keys() == {"input_ids", "decoder_input_ids", "packing" if packed else "attention_mask"}
    assert batch.num_tokens == sum(map(len, segments))
    assert batch.num_supervised == sum(len(s.decoder_ids) - 1 for s in segments)
    positions, labels = batch.targets()
    assert labels.tolist() == [id_ for s in segments for id_ in s.decoder_ids[1:].tolist()]
    before = [id_ for s in segments for id_ in s.decoder_ids[:-1].tolist()]
    assert batch.learned_ids.reshape(-1)[positions].tolist() == before
    if packed:
        ends = np.cumsum([len(s.encoder_ids) for s in segments]).tolist()
        assert batch.packing is not None
        assert batch.packing.of("encoder") == (0, *ends)
        assert batch.packing.of("decoder")[-1] == batch.labels.shape[1]
        return
    for row, segment in enumerate(segments):
        assert batch.input_ids[row][inputs["attention_mask"][row].bool()].tolist() == segment.encoder_ids.tolist()
        assert (batch.labels[row] != IGNORE_INDEX).sum() == len(segment.decoder_ids) - 1


def test_rows_share_a_pass_as_far_as_both_rectangles_fit():
    sides = [(9, 1), (1, 9), (5, 5), (2, 2)]
    assert padded_groups(sides, 18) == [[0], [1], [2], [3]]
    assert padded_groups(sides, 20) == [[0], [1], [2, 3]]
    for capacity in (10, 20, 36, 60):
        groups = padded_groups(sides, capacity)
        assert sorted(row for group in groups for row in group) == [0, 1, 2, 3]
        for group in groups:
            rectangle = len(group) * (max(sides[row][0] for row in group) + max(sides[row][1] for row in group))
            assert rectangle <= capacity or len(group) == 1


def test_the_sampler_counts_both_sides(tmp_path):
    found = dataset(tmp_path, renderer())
    batches = Batches(found, batch_size=8, micro_tokens=60, packed=False)
    for group in batches.groups(0):
        batch = batches.batch(group)
        assert batch.decoder_input_ids is not None
        assert batches.positions(group) == batch.input_ids.numel() + batch.decoder_input_ids.numel() <= 60
