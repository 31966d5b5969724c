"""What was read before is not read again, and changes nothing, over the ten decoder architectures."""

import pytest
from tests.zoo import DECODERS, make

from accorda.generation.past import Past
from accorda.generation.sample import generate, stream
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import freeze, install
from accorda.methods.routing import use

FIRST = [5, 9, 31, 7, 8, 12]


@pytest.fixture(params=DECODERS)
def model(request):
    return make(request.param)


class Reading:
    """How many tokens every forward pass was given."""

    def __init__(self, model):
        self.model, self.lengths = model, []
        model.base_model.register_forward_pre_hook(self._hook, with_kwargs=True)

    def _hook(self, module, args, given):
        self.lengths.append(given["input_ids"].shape[1])


def told(model, prompt, past, number=6):
    tokens = list(stream(model, prompt, stop_ids=(), max_new_tokens=number, past=past))
    return [token.token_id for token in tokens], [token.log_prob for token in tokens]


def alone(model, prompt, number=6):
    (found,) = generate(model, [prompt], stop_ids=(), max_new_tokens=number)
    return found.token_ids, found.log_probs


def check(model, prompt, past, number=6):
    ids, log_probs = told(model, prompt, past, number)
    expected = alone(model, prompt, number)
    assert ids == expected[0]
    assert log_probs == pytest.approx(expected[1], abs=1e-4)
    return ids


def test_a_conversation_that_goes_on_turns_back_and_changes(model):
    past = Past()
    said = check(model, FIRST, past)
    second = [*FIRST, *said, 2, 40, 41]
    more = check(model, second, past)
    check(model, [*second, *more, 17], past)
    check(model, [*FIRST, 50, 51, 52, 53], past)  # edited
    check(model, FIRST, past)  # again
    check(model, [60, 61], past)  # something else


def test_only_what_is_new_is_read():
    model, past = make("llama"), Past()
    said, _ = told(model, FIRST, past, 3)
    reading = Reading(model)
    told(model, [*FIRST, *said, 40, 41], past, 2)
    assert reading.lengths == [3, 1]  # the newest token of the first answer had not been read
    told(model, [*FIRST, *said, 40, 41], past, 1)
    assert reading.lengths == [3, 1, 1]


def test_what_is_cheap_is_read_again():
    model = make("llama")
    cost = 2 * len(FIRST) * model.num_parameters()
    for cheap, expected in ((cost - 1, 2), (cost + 1, len(FIRST) + 2)):
        past = Past(cheap)
        told(model, FIRST, past, 1)
        reading = Reading(model)
        told(model, [*FIRST, 40, 41], past, 1)
        assert reading.lengths == [expected]


def test_a_window_that_forgets_is_read_again():
    model, past = make("mistral"), Past()  # a sliding window of five
    told(model, FIRST, past, 3)
    reading = Reading(model)
    told(model, [*FIRST, 4], past, 1)
    assert reading.lengths == [7]


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon_alibi"])
def test_behind_a_soft_prompt(name):
    model, past = make(name), Past()
    install(freeze(model), PromptTuning(num_virtual_tokens=3), "soft")
    base = alone_as_base(model)
    said = check(model, FIRST, past)
    check(model, [*FIRST, *said, 40, 41], past)
    check(model, [*FIRST, 40], past)
    assert alone_as_base(model) == base


def alone_as_base(model):
    with use(model, None):
        return alone(model, FIRST)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_step_that_was_interrupted_is_forgotten(at):
    """Ctrl-C between two layers: one has the token's keys, the other has not."""
    model, past = make("llama"), Past()
    calls = []

    def interrupt(module, args):
        calls.append(1)
        if len(calls) == at + 1:
            raise KeyboardInterrupt

    said: list[int] = []
    handle = model.model.layers[1].register_forward_pre_hook(interrupt)
    tokens = stream(model, FIRST, stop_ids=(), max_new_tokens=6, past=past)
    with pytest.raises(KeyboardInterrupt):
        said.extend(token.token_id for token in tokens)
    handle.remove()
    assert past.ids == ([] if at == 0 else [*FIRST, *alone(model, FIRST)[0][: at - 1]])
    check(model, [*FIRST, *alone(model, FIRST)[0][:at], 33, 34], past)
