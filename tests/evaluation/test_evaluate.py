"""`accorda.evaluate` on tiny models and on real weights."""

import json
import math

import pytest
import torch
from tests.zoo import make, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.evaluation.evaluate import evaluate
from accorda.evaluation.metrics.exact_match import ExactMatch
from accorda.generation.text import generate
from accorda.recipe.sections import DataSection

ROWS = [
    {"prompt": "How many clips? ", "completion": "The answer is 72."},
    {"prompt": "Who loved to play outside? ", "completion": "Lily"},
    {"prompt": "What did Natalia sell? ", "completion": "clips"},
]
CHATS = [
    {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Lily"}]},
    {"messages": [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "72"}]},
]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def model():
    return make("llama", vocab_size=320, max_position_embeddings=256)


@torch.no_grad()
def naive_nll(model, prompt, completion):
    """Nats of a completion's tokens behind a prompt, and their number."""
    ids = torch.tensor([[*prompt, *completion]])
    log_probs = model(ids).logits[0].log_softmax(-1)
    picked = [log_probs[len(prompt) - 1 + at, token] for at, token in enumerate(completion)]
    return -float(sum(picked)), len(completion)


def test_likelihood_of_prompt_and_completion_equals_the_formula(model, tokenizer):
    sums = [
        naive_nll(
            model,
            tokenizer(row["prompt"]).input_ids,
            [*tokenizer(row["completion"], add_special_tokens=False).input_ids, tokenizer.eos_token_id],
        )
        for row in ROWS
    ]
    loss = sum(nats for nats, _ in sums) / sum(count for _, count in sums)
    found = evaluate(model, tokenizer, ROWS, ["perplexity", "eval_loss"])
    assert found["eval_loss"] == pytest.approx(loss, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    low, high = found["intervals"]["perplexity"]
    assert low < found["perplexity"] < high
    assert found["num_rows"] == 3
    assert "samples" not in found
    assert found["notes"]["perplexity"] == {"direction": "lower"}


def test_generated_answers_are_those_of_generate_and_scored_against_the_completions(model, tokenizer):
    told = generate(model, tokenizer, [row["prompt"] for row in ROWS], max_new_tokens=4)
    rows = [{**row, "completion": told[at].text if at < 2 else "no"} for at, row in enumerate(ROWS)]
    found = evaluate(model, tokenizer, rows, ["exact_match", "f1", "rouge", "bleu"], max_new_tokens=4)
    assert found["exact_match"] == pytest.approx(2 / 3)
    assert set(found["intervals"]) == {"exact_match", "f1", "rouge1", "rouge2", "rougeL", "bleu"}
    assert [sample["completion"] for sample in found["samples"]] == [completion.text for completion in told]
    assert [sample["reference"] for sample in found["samples"]] == [row["completion"].strip() for row in rows]
    assert found["stop_rate"] == sum(completion.stopped for completion in told) / 3
    assert "nrefs:1" in found["notes"]["bleu"]["signature"]


def test_conversations_go_through_the_template(model, tokenizer):
    renderer = Renderer(tokenizer)
    prompt = tokenizer.apply_chat_template(CHATS[0]["messages"][:1], add_generation_prompt=True, return_dict=False)
    prompt = [tokenizer.bos_token_id, *prompt]  # this template leaves it to the tokenizer
    nats, count = naive_nll(model, prompt, [*tokenizer("Lily", add_special_tokens=False).input_ids, 2])
    found = evaluate(model, tokenizer, CHATS[:1], ["eval_loss", ExactMatch()], renderer=renderer, max_new_tokens=3)
    assert found["eval_loss"] == pytest.approx(nats / count, rel=1e-5)
    assert found["samples"][0]["reference"] == "Lily"


def test_a_file_a_section_and_a_limit(model, tokenizer, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"q": row["prompt"], "a": row["completion"]}) + "\n" for row in ROWS))
    columns = {"prompt": "q", "completion": "a"}
    expected = evaluate(model, tokenizer, ROWS[:2], ["eval_loss"])["eval_loss"]
    section = DataSection(eval=str(path), columns=columns)
    found = evaluate(model, tokenizer, section, "eval_loss", limit=2)
    assert (found["eval_loss"], found["num_rows"]) == (pytest.approx(expected), 2)


def test_texts_longer_than_the_context_lose_no_token(tokenizer):
    model = make("llama", vocab_size=320, max_position_embeddings=64)
    text = "Once upon a time there was a little girl named Lily. " * 30
    found = evaluate(model, tokenizer, [{"text": text}], ["perplexity"])
    assert found["num_rows"] > 3
    with pytest.raises(Refusal, match="exact_match: answers are compared with references, and these rows are plain"):
        evaluate(model, tokenizer, [{"text": "Once upon a time"}], ["exact_match"])


def test_rows_that_do_not_fit_are_left_out_and_counted(tokenizer):
    model = make("llama", vocab_size=320, max_position_embeddings=64)
    rows = [*ROWS, {"prompt": "word " * 200, "completion": "no"}]
    found = evaluate(model, tokenizer, rows, ["eval_loss"])
    assert found["num_rows"] == 3
    assert found["rows"] == {"seen": 4, "kept": 3, "skipped": 0, "overlong": 1, "truncated": 0}
    assert found["eval_loss"] == pytest.approx(evaluate(model, tokenizer, ROWS, ["eval_loss"])["eval_loss"])


def test_what_is_refused(model, tokenizer):
    with pytest.raises(Refusal, match="did you mean 'rouge'"):
        evaluate(model, tokenizer, ROWS, ["rogue"])
    with pytest.raises(Refusal, match=r"sampling\.max_tokens"):
        evaluate(model, tokenizer, ROWS, ["f1"], max_tokens=3)
    with pytest.raises(Refusal, match="not one row fits in 256 tokens"):
        evaluate(model, tokenizer, [{"prompt": "word " * 400, "completion": "no"}], ["f1"])


def test_real_weights_on_real_questions(shared, stories):
    """The model of children's stories answers no question of GSM8K, and is far from certain about its answers."""
    tokenizer = AutoTokenizer.from_pretrained(stories)
    model = AutoModelForCausalLM.from_pretrained(stories).eval()
    section = DataSection(
        eval=str(shared / "data" / "gsm8k" / "test.jsonl"), columns={"prompt": "question", "completion": "answer"}
    )
    found = evaluate(model, tokenizer, section, ["eval_loss", "gsm8k_exact_match"], limit=12, max_new_tokens=8)
    assert found["gsm8k_exact_match"] <= 0.2
    assert 3 < found["eval_loss"] < 8


def test_answers_end_where_the_template_ends_a_turn(model, tokenizer):
    class Closing(Renderer):
        stop_ids: tuple[int, ...] = ()

    renderer = Closing(tokenizer)
    (free,) = generate(model, tokenizer, ROWS[0]["prompt"], max_new_tokens=6, stop_ids=())
    renderer.stop_ids = (free.token_ids[0],)
    found = evaluate(model, tokenizer, ROWS[:1], ["f1"], renderer=renderer, max_new_tokens=6)
    assert found["stop_rate"] == 1
    assert found["samples"][0]["completion"] == ""


def test_a_limit_never_widens_the_sections_own(model, tokenizer):
    section = DataSection(eval=ROWS, eval_limit=1)
    assert evaluate(model, tokenizer, section, "eval_loss", limit=2)["num_rows"] == 1
    assert evaluate(model, tokenizer, DataSection(eval=ROWS, eval_limit=3), "eval_loss", limit=2)["num_rows"] == 2
