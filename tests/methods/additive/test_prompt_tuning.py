"""Prompt tuning against embeddings put together by hand."""

import pytest
import torch
from tests.zoo import batch, make, tiny_model_folder
from transformers import AutoModelForCausalLM, AutoTokenizer, T5Config, T5ForConditionalGeneration

from accorda.errors import Refusal
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.prepare import prepare
from accorda.methods.registry import read, write
from accorda.methods.routing import use
from accorda.models.attention import Packing, use_attention

GREEDY = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}


def prompted(architecture="llama", **settings):
    torch.manual_seed(2)
    model = freeze(make(architecture))
    use_attention(model)
    return install(model, PromptTuning(**{"num_virtual_tokens": 3} | settings))


def vectors(model, name="default"):
    return own_tensors(model, name)["0_prompt.prompt_embeddings"]


@pytest.mark.parametrize("architecture", ["llama", "gemma", "gpt2", "falcon_alibi", "bert", "roberta"])
def test_vectors_stand_in_front_and_are_cut_off_again(architecture):
    model, inputs = prompted(architecture), batch(architecture)
    with use(model):
        embedded = model.get_input_embeddings()(inputs["input_ids"])
        by_hand = model(inputs_embeds=torch.cat([vectors(model).expand(3, -1, -1), embedded], 1)).logits[:, 3:]
    torch.testing.assert_close(model(**inputs).logits, by_hand)


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_an_encoder_keeps_them_and_the_decoder_attends_to_them(architecture):
    model, inputs = prompted(architecture), batch(architecture)
    with use(model):
        embedded = model.get_input_embeddings()(inputs["input_ids"])
        by_hand = model(
            inputs_embeds=torch.cat([vectors(model).expand(3, -1, -1), embedded], 1),
            decoder_input_ids=inputs["decoder_input_ids"],
        ).logits
    torch.testing.assert_close(model(**inputs).logits, by_hand)


@pytest.mark.parametrize("architecture", ["llama", "gemma", "gpt2", "bert", "t5"])
def test_placeholders_say_what_the_front_says(architecture):
    front, inputs = prompted(architecture), batch(architecture)
    placed = prompted(architecture, placement="placeholder")
    with torch.no_grad():
        vectors(placed).copy_(vectors(front))
    ids = torch.cat([torch.tensor([-1, -2, -3]).expand(3, -1), inputs["input_ids"]], 1)
    logits = placed(**inputs | {"input_ids": ids, "attention_mask": torch.ones(3, 10)}).logits
    torch.testing.assert_close(logits if architecture == "t5" else logits[:, 3:], front(**inputs).logits)


def test_placeholders_stand_where_the_ids_say():
    model, ids = prompted(placement="placeholder"), batch("llama")["input_ids"]
    mixed = torch.cat([ids[:, :4], torch.tensor([-3, -1]).expand(3, -1), ids[:, 4:]], 1)
    with use(model):
        table = model.get_input_embeddings()
        named = vectors(model)[[2, 0]].expand(3, -1, -1)
        by_hand = model(inputs_embeds=torch.cat([table(ids[:, :4]), named, table(ids[:, 4:])], 1)).logits
    torch.testing.assert_close(model(input_ids=mixed).logits, by_hand)


def test_generates_from_placeholders():
    front, ids = prompted(), batch("llama")["input_ids"]
    placed = prompted(placement="placeholder")
    with torch.no_grad():
        vectors(placed).copy_(vectors(front))
    written = torch.cat([torch.tensor([-1, -2, -3]).expand(3, -1), ids], 1)
    one = front.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **GREEDY)
    other = placed.generate(input_ids=written, attention_mask=torch.ones_like(written), **GREEDY)
    assert torch.equal(one[:, 7:], other[:, 10:])


def test_a_placeholder_without_a_vector_is_refused():
    model = prompted(placement="placeholder")
    with pytest.raises(Refusal, match="-4"):
        model(input_ids=torch.tensor([[5, -4, 6]]))
    with pytest.raises(Refusal, match="-1"), use(model, rows=["default", None]):
        model(input_ids=torch.tensor([[5, -1, 6], [5, -1, 6]]))


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2", "gpt_neox", "bert", "roberta"])
def test_prompts_of_different_lengths_in_one_batch(architecture):
    model, inputs = prompted(architecture), batch(architecture, rows=4)
    install(model, PromptTuning(num_virtual_tokens=5), "long")
    rows = ["default", None, "long", "default"]
    inputs["attention_mask"][3, 5:] = 0
    with use(model, rows=rows):
        together = model(**inputs).logits
    for row, name in enumerate(rows):
        length = 5 if row == 3 else 7
        with use(model, name):
            alone = model(input_ids=inputs["input_ids"][row : row + 1, :length]).logits[0]
        torch.testing.assert_close(together[row, :length], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2", "roberta", "bart"])
def test_prompts_of_different_lengths_in_one_packed_row(architecture):
    model, inputs = prompted(architecture), batch(architecture)
    install(model, PromptTuning(num_virtual_tokens=5), "long")
    rows, lengths = ["long", None, "default"], (4, 7, 5)
    ids = torch.cat([inputs["input_ids"][row, :length] for row, length in enumerate(lengths)])[None]
    packing, others = Packing((0, 4, 11, 16)), {}
    if architecture == "bart":
        others = {"decoder_input_ids": inputs["decoder_input_ids"].flatten()[None]}
        packing = Packing((0, 5, 10, 15), (0, 4, 11, 16))
    with use(model, rows=rows):
        together = model(input_ids=ids, packing=packing, **others).logits[0]
    for row, name in enumerate(rows):
        alone = {"input_ids": inputs["input_ids"][row : row + 1, : lengths[row]]}
        if others:
            alone["decoder_input_ids"] = inputs["decoder_input_ids"][row : row + 1]
        with use(model, name):
            expected = model(**alone).logits[0]
        start, end = packing.borders[row : row + 2]
        torch.testing.assert_close(together[start:end], expected, atol=1e-5, rtol=1e-5)


def test_packed_positions_may_be_given():
    model, inputs = prompted(), batch("llama")
    ids = torch.cat([inputs["input_ids"][0, :4], inputs["input_ids"][1, :6]])[None]
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4, 5]])
    own = model(input_ids=ids, packing=Packing((0, 4, 10))).logits
    assert torch.equal(model(input_ids=ids, position_ids=positions, packing=Packing((0, 4, 10))).logits, own)


def test_left_padded_rows_generate_as_alone():
    """What `generate` does by itself: pads between prompt and tokens, masked, positions counted without them."""
    for architecture in ("llama", "gpt2", "falcon_new"):
        model, ids = prompted(architecture), batch(architecture)["input_ids"]
        install(model, PromptTuning(num_virtual_tokens=5), "long")
        mask = torch.ones_like(ids)
        mask[0, :3], rows = 0, ["default", None, "long"]
        with use(model, rows=rows):
            together = model.generate(input_ids=ids * mask, attention_mask=mask, **GREEDY)
        for row, (name, skipped) in enumerate(zip(rows, (3, 0, 0), strict=True)):
            with use(model, name):
                alone = model.generate(input_ids=ids[row : row + 1, skipped:], **GREEDY)
            assert torch.equal(together[row, 7:], alone[0, 7 - skipped :])


def test_several_active_prompts_follow_each_other():
    model, inputs = prompted(), batch("llama")
    install(model, PromptTuning(num_virtual_tokens=2), "second")
    with use(model):
        front = torch.cat([vectors(model), vectors(model, "second")]).expand(3, -1, -1)
        embedded = model.get_input_embeddings()(inputs["input_ids"])
        by_hand = model(inputs_embeds=torch.cat([front, embedded], 1)).logits[:, 5:]
    torch.testing.assert_close(model(**inputs).logits, by_hand)


def test_hidden_states_are_cut_too():
    model, inputs = prompted(), batch("llama")
    states = model(**inputs, output_hidden_states=True).hidden_states
    assert {state.shape for state in states} == {(3, 7, 32)}


def test_starts():
    model = make("gemma")  # multiplies embeddings by sqrt(32)
    table = model.get_input_embeddings()(torch.arange(67)).detach()
    torch.manual_seed(0)
    drawn = PromptTuning(num_virtual_tokens=20).build(model).embeds()
    rows = [(table == vector).all(1).nonzero().item() for vector in drawn]
    assert len(set(rows)) == 20
    text = PromptTuning(num_virtual_tokens=5, init="text", init_ids=(9, 4)).build(model).embeds()
    assert torch.equal(text, table[[9, 4, 9, 4, 9]])
    random = PromptTuning(num_virtual_tokens=60, init="random").build(model).embeds()
    assert random.std().item() == pytest.approx(table.std().item(), rel=0.15)
    assert random.abs().max() <= table.std() * 3**0.5 * 1.2


def test_more_vectors_than_tokens():
    assert PromptTuning(num_virtual_tokens=100).build(make("llama")).embeds().shape == (100, 32)


def test_prepare_finds_the_tokens_of_a_text(tmp_path):
    folder = tiny_model_folder(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    method = PromptTuning(num_virtual_tokens=4, init="text", init_text="the answer is")
    with pytest.raises(Refusal, match="prepare"):
        install(model, method)
    ready = prepare(model, method)
    expected = AutoTokenizer.from_pretrained(folder)("the answer is", add_special_tokens=False)["input_ids"]
    assert ready.init_ids == tuple(expected)
    assert prepare(model, ready) is ready
    install(model, ready)


def test_labels_start_as_the_mean_of_their_tokens_and_the_rest_from_the_vocabulary(tmp_path):
    folder = tiny_model_folder(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    method = PromptTuning(num_virtual_tokens=5, init="labels", init_labels=("answer", "Natalia sold"))
    with pytest.raises(Refusal, match=r"init = labels: call accorda.prepare"):
        install(model, method)
    ready = prepare(model, method)
    tokenizer, table = AutoTokenizer.from_pretrained(folder), model.get_input_embeddings().weight.detach()
    vectors = ready.build(model).embeds()
    for vector, label in zip(vectors, method.init_labels, strict=False):
        ids = tokenizer(label, add_special_tokens=False)["input_ids"]
        torch.testing.assert_close(vector, sum(table[number] for number in ids) / len(ids))
    assert len({(table == vector).all(1).nonzero().item() for vector in vectors[2:]}) == 3
    assert read(write(ready)) == ready


def test_text_needs_a_tokenizer():
    for method in (
        PromptTuning(init="text", init_text="the answer is"),
        PromptTuning(init="labels", init_labels=("a",)),
    ):
        with pytest.raises(Refusal, match="tokenizer"):
            prepare(make("llama"), method)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"init": "labels"}, r"method\.init = labels: give what to start from in init_labels"),
        ({"init_labels": ["good"]}, r"method\.init = \w+: has no use for init_labels; leave it out"),
        ({"init": "text"}, r"method\.init = text: give what to start from in init_text"),
        (
            {"init": "labels", "init_labels": ["a", "b"], "num_virtual_tokens": 1},
            "too few for the 2 init_labels; raise it",
        ),
        ({"init": "glove"}, "init = glove"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(settings, says):
    with pytest.raises(Refusal, match=says):
        read({"name": "prompt_tuning"} | settings)


def test_count_of_the_paper():
    """T5 XXL, five vectors: 20,480 parameters (caption of figure 2)."""
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(d_model=4096, num_layers=1, num_heads=64))
    assert PromptTuning(num_virtual_tokens=5).num_parameters(model).trained == 20_480


def test_a_mask_of_four_axes_is_refused():
    model = prompted()
    with pytest.raises(Refusal, match="two axes"):
        model(input_ids=torch.ones(1, 3, dtype=torch.long), attention_mask=torch.ones(1, 1, 3, 3))
