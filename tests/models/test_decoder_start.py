import pytest
import torch
import transformers as hf
from tests.zoo import make

from accorda.errors import Refusal
from accorda.models.decoder_start import decoder_start, forced_first


@pytest.mark.parametrize(("name", "start"), [("t5", 0), ("bart", 2), ("llama", None), ("bert", None)])
def test_the_start_is_the_one_the_model_shifts_labels_with(name, start):
    model = make(name)
    assert decoder_start(model) == start
    if start is not None:
        labels = torch.tensor([[9, 8, 7, 2]])
        assert model.prepare_decoder_input_ids_from_labels(labels).tolist() == [[start, 9, 8, 7]]


def test_mbart_begins_with_what_its_answers_end_with():
    config = {"vocab_size": 67, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1}
    mbart = hf.MBartForConditionalGeneration(hf.MBartConfig(**config, decoder_start_token_id=2, eos_token_id=2))
    assert decoder_start(mbart) == 2
    mbart.config.decoder_start_token_id = mbart.generation_config.decoder_start_token_id = 5
    with pytest.raises(Refusal, match="begins an answer with token 5 and is trained behind token 2"):
        decoder_start(mbart)


def test_a_model_without_any_start_is_refused():
    model = make("t5")
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id = settings.bos_token_id = None
    with pytest.raises(Refusal, match="names no decoder_start_token_id; set it"):
        decoder_start(model)


def test_a_forced_first_token_is_found_where_it_is_set():
    model = make("bart")
    assert forced_first(model) is None
    model.generation_config.forced_bos_token_id = 7
    assert forced_first(model) == 7
