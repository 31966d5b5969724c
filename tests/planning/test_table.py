"""The mission's golden values, and the picture."""

from dataclasses import replace

import pytest

from accorda.errors import Refusal
from accorda.planning import table
from accorda.planning.picture import draw
from accorda.planning.table import SHAPES, rows
from accorda.quantization import formats

TABLE = {(row.size, row.precision): row for row in rows()}


def test_golden_values():
    assert TABLE["1B", "fp32"].load == 4e9
    assert TABLE["1B", "16-bit"].load == 2e9
    assert TABLE["1B", "fp32"].full >= 16e9


def test_every_size_in_every_precision():
    assert len(TABLE) == 7 * 4
    assert [shape.size for shape in SHAPES] == ["1B", "3B", "7B", "13B", "30B", "65B", "175B"]
    assert all(TABLE[shape.size, precision].full is None for shape in SHAPES for precision in ("int8", "nf4"))


def test_a_new_number_format_is_a_row_of_the_table(monkeypatch):
    three = replace(formats()["int8"], name="int3", num_bytes=lambda out, inputs: out * inputs * 3 // 8)
    monkeypatch.setattr(table, "formats", lambda: formats() | {"int3": three})
    found = [row.precision for row in table.of(SHAPES[0])]
    assert found == ["fp32", "16-bit", "int8", "nf4", "int3"]


def test_a_7b_by_hand():
    """LLaMA: 32 blocks of four 4096 x 4096 and three 4096 x 11008, LoRA of rank 16 on each, 32,000 tokens twice."""
    shape = next(shape for shape in SHAPES if shape.size == "7B")
    assert shape.num_linear == 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert shape.num_adapter == 32 * 16 * (4 * 2 * 4096 + 3 * (4096 + 11008)) == 39_976_960  # PEFT's count
    linear = 7e9 * shape.num_linear / 6_738_149_376  # all but its 65 norms
    assert TABLE["7B", "nf4"].load == pytest.approx(linear * 4.127 / 8 + (7e9 - linear) * 2, rel=1e-3)
    scales = 32 * 4 * (4 * 4096 + 2 * 11008 + 4096) * 7e9 * shape.share / shape.num_linear  # one per row of the linears
    assert TABLE["7B", "int8"].load == pytest.approx(linear + scales + (7e9 - linear) * 2, rel=1e-3)
    assert TABLE["7B", "nf4"].lora == pytest.approx(TABLE["7B", "nf4"].load + 16 * 39_976_960)


def test_the_shapes_have_about_the_sizes_they_stand_for():
    for shape in SHAPES:
        total = shape.num_linear + 2 * shape.vocabulary * shape.width
        assert total == pytest.approx(shape.nominal, rel=0.15), shape.size


def test_less_precision_is_less_memory():
    for shape in SHAPES:
        loads = [TABLE[shape.size, precision].load for precision in ("fp32", "16-bit", "int8", "nf4")]
        assert loads == sorted(loads, reverse=True)


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_picture_is_the_same_every_time(tmp_path, kind):
    draw(str(tmp_path / f"one.{kind}"))
    draw(str(tmp_path / f"two.{kind}"))
    one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
    assert one == two
    assert len(one) > 10_000
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one.{kind}", f"two.{kind}"]


@pytest.mark.parametrize("path", ["picture.gif", "nowhere/picture.svg"])
def test_where_no_picture_can_go(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match="--picture"):
        draw(path)
