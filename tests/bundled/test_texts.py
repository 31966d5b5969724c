"""What the bundled model reads is right: sums add up, tickets tell their facts, conversations fit the chat template."""

import json
import re
from pathlib import Path
from random import Random

import pytest
from bundled.arithmetic import exercise
from bundled.instructions import about_text, about_words
from bundled.stories import story
from bundled.words import PRODUCTS

from accorda.data.sources import BUNDLED_FOLDER
from accorda.evaluation.preferences.facts import stated, true_reward
from accorda.models.load import load_tokenizer
from bundled import corpus, preferences, tickets

EQUATION = re.compile(r"(\d+) ([-+x]) (\d+)(?: \+ (\d+))? = (\d+)")
SEEDS = range(200)


def test_every_equation_holds():
    checked = 0
    for seed in SEEDS:
        for a, sign, b, carried, result in EQUATION.findall(exercise(Random(seed))[1]):
            a, b = int(a), int(b)
            assert {"+": a + b, "-": a - b, "x": a * b}[sign] + int(carried or 0) == int(result)
            checked += 1
    assert checked > len(SEEDS)


def test_a_ticket_tells_its_facts():
    for seed in SEEDS:
        rng = Random(seed)
        about = tickets.facts(rng)
        for text in (tickets.ticket(rng, about), tickets.thread(rng, about)):
            assert all(part in text for part in (about.name, about.product, about.order))
            told = [sentence.format(product=about.product) for sentence in tickets.PROBLEMS[about.problem]]
            assert any(sentence.lower() in text.lower() for sentence in told)
            assert any(sentence in text for sentence in tickets.WISHES[about.wish])


def test_the_last_wish_of_a_thread_counts():
    wishes = {sentence: wish for wish, sentences in tickets.WISHES.items() for sentence in sentences}
    changed = 0
    for seed in SEEDS:
        rng = Random(seed)
        about = tickets.facts(rng)
        said = sorted(
            (text.rindex(s), w) for text in [tickets.thread(rng, about)] for s, w in wishes.items() if s in text
        )
        assert said[-1][1] == about.wish
        changed += said[0][1] != about.wish
    assert changed > len(SEEDS) // 2


def test_no_sentence_means_two_things():
    for meanings in (tickets.PROBLEMS, tickets.WISHES, tickets.URGENCY):
        sentences = [sentence for told in meanings.values() for sentence in told]
        assert len(sentences) == len(set(sentences))
    assert len(PRODUCTS) == len(set(PRODUCTS))


@pytest.mark.parametrize(("name", "long"), [("tickets", False), ("long-tickets", True)])
def test_the_committed_tickets_are_the_generators(name, long, tmp_path):
    tickets.write(tmp_path)
    for split, count in (("", 800), ("-heldout", 200)):
        file = f"{name}{split}.jsonl"
        assert (tmp_path / file).read_bytes() == (BUNDLED_FOLDER / file).read_bytes()
        assert len((BUNDLED_FOLDER / file).read_text(encoding="utf-8").splitlines()) == count


def test_threads_are_longer():
    short, long = (sum(len(row["prompt"]) for row in tickets.rows(0, 50, long)) for long in (False, True))
    assert long > 2 * short


def test_no_summary_stands_in_the_corpus():
    rng = Random(0)
    texts = [corpus.document(rng) for _ in range(2000)]
    assert not any("Summary:" in text or "Urgency:" in text for text in texts)


def test_conversations_are_what_the_chat_template_writes():
    tokenizer, rng = load_tokenizer("bundled"), Random(1)
    turns = [about_words(rng), *about_text(rng), exercise(rng)]
    messages = [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == corpus.chat(turns)


def test_every_digit_is_a_token_and_texts_come_back():
    tokenizer = load_tokenizer("bundled")
    assert tokenizer.tokenize("order 4821")[-4:] == list("4821")
    for text in ("Grüße, naïve café ☕", "a\n\nb  c", story(Random(3)).text):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_documents_are_drawn_from_the_seed(tmp_path):
    paths = [Path(tmp_path / name) for name in "ab"]
    for path in paths:
        corpus.write(path, 7, 20)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert all(json.loads(line)["text"] for line in paths[0].read_text(encoding="utf-8").splitlines())


def test_the_known_preference_agrees_with_nine_labels_in_ten():
    for seed, count in ((300, preferences.TRAIN), (301, preferences.HELDOUT)):
        made = preferences.rows(seed, count)
        agree = []
        for row in made:
            chosen, rejected = (true_reward(row[side], row["summary"]) for side in ("chosen", "rejected"))
            assert chosen != rejected
            assert true_reward(row["summary"], row["summary"]) == 6
            agree.append(chosen > rejected)
        assert abs(sum(agree) / count - (1 - preferences.NOISE)) < 0.06
    assert true_reward("nothing of the kind", made[0]["summary"]) == 0


def test_the_bundled_pairs_are_what_the_generator_makes():
    for name, seed, count in (
        ("preferences", 300, preferences.TRAIN),
        ("preferences-heldout", 301, preferences.HELDOUT),
    ):
        lines = (BUNDLED_FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == preferences.rows(seed, count)
    lines = (BUNDLED_FOLDER / "demonstrations.jsonl").read_text(encoding="utf-8").splitlines()
    made = preferences.demonstrations(302, preferences.DEMONSTRATIONS)
    assert [json.loads(line) for line in lines] == made
    assert sum((BUNDLED_FOLDER / f"preferences{part}.jsonl").stat().st_size for part in ("", "-heldout")) < 300_000


def test_demonstrations_leave_facts_open_and_tell_none_wrong():
    """Every third fact in the mean; what is told is told in the ticket, as a name, a product or a number."""
    made = preferences.demonstrations(5, 300)
    words = vars(preferences.OPEN)
    told = [stated(row["completion"]) for row in made]
    opened = [sum(one[name] == words[name] for name in words) for one in told]
    assert abs(sum(opened) / 300 - 6 * preferences.LEFT_OPEN) < 0.2
    for row, one in zip(made, told, strict=True):
        for name in ("name", "order"):
            assert one[name] == words[name] or one[name] in row["prompt"]
