"""Buffers of their final size hold what transformers' growing layers hold."""

import pytest
import torch
from tests.zoo import make
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from accorda.generation.cache import BufferedLayer, buffered


def grown(layer, steps, generator=0):
    """The layer after updates of so many positions each, and what the last one gave."""
    drawn = torch.Generator().manual_seed(generator)
    for number in steps:
        given = layer.update(
            torch.randn(3, 2, number, 4, generator=drawn), torch.randn(3, 2, number, 5, generator=drawn)
        )
    return given


@pytest.mark.parametrize("capacity", [9, 6, 1])
def test_the_same_keys_and_values_as_a_growing_layer(capacity):
    ours, theirs = BufferedLayer(capacity), DynamicLayer()
    for got, expected in zip(grown(ours, (5, 1, 1, 2)), grown(theirs, (5, 1, 1, 2)), strict=True):
        assert torch.equal(got, expected)
    assert ours.get_seq_length() == theirs.get_seq_length() == 9
    assert ours.capacity >= 9


def test_a_buffer_that_suffices_is_made_once():
    layer = BufferedLayer(9)
    grown(layer, (5,))
    place = layer.keys.data_ptr(), layer.values.data_ptr()
    grown(layer, (1, 3))
    assert (layer.keys.data_ptr(), layer.values.data_ptr()) == place
    layer.batch_select_indices(torch.tensor([0, 2]))
    assert (layer.keys.data_ptr(), layer.values.data_ptr()) == place


@pytest.mark.parametrize("kept", [[0, 1, 2], [1], [0, 2], [1, 2]])
def test_rows_leave_and_the_others_go_on(kept):
    layers = BufferedLayer(9), DynamicLayer()
    for layer in layers:
        grown(layer, (5, 1))
        layer.batch_select_indices(torch.tensor(kept, dtype=torch.long))
        layer.update(torch.ones(len(kept), 2, 1, 4), torch.ones(len(kept), 2, 1, 5))
    assert torch.equal(layers[0].keys, layers[1].keys)
    assert torch.equal(layers[0].values, layers[1].values)


def test_every_row_several_times():
    layers = BufferedLayer(9), DynamicLayer()
    for layer in layers:
        grown(layer, (5,))
        layer.batch_repeat_interleave(2)
        layer.update(torch.ones(6, 2, 1, 4), torch.ones(6, 2, 1, 5))
        layer.crop(-2)
        layer.update(torch.full((6, 2, 1, 4), 2.0), torch.zeros(6, 2, 1, 5))
    assert torch.equal(layers[0].keys, layers[1].keys)
    assert torch.equal(layers[0].values, layers[1].values)


def test_layers_of_another_kind_stay():
    plain, windowed = make("llama").config, make("mistral").config
    assert [type(layer) for layer in buffered(plain, 7).layers] == [BufferedLayer] * plain.num_hidden_layers
    expected = [type(layer) for layer in DynamicCache(config=windowed).layers]
    assert [type(layer) for layer in buffered(windowed, 7).layers] == [
        BufferedLayer if kind is DynamicLayer else kind for kind in expected
    ]
