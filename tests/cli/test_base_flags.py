"""Verbs that open a base by flags open it in the number format that was asked for."""

import io
import json
import sys

import pytest

from accorda.cli.main import main
from accorda.models import load
from accorda.quantization import format_of, number_format

NF4 = ("--quantization", "nf4")
SINGLE = "--no-double-quantization"
VERBS = pytest.mark.parametrize("name", ["generate", "eval", "chat"])


@pytest.fixture
def run(adapter, tmp_path, monkeypatch):
    """Run a verb with flags; its exit code and the number formats of what it loaded."""
    rows, usual, formats = tmp_path / "rows.jsonl", load.load_model, []
    rows.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": "One."}) + "\n" for n in range(4)))
    commands = {"generate": ["--prompt", "hi"], "eval": ["--data", str(rows), "--shots", "0"], "chat": []}

    def load_model(*path, **loading):
        model = usual(*path, **loading)
        formats.append(format_of(model))
        return model

    def run(name, *flags):
        monkeypatch.setattr(load, "load_model", load_model)
        monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
        monkeypatch.setattr(sys, "__stdout__", sys.stdout)
        return main([name, str(adapter), *commands[name], "--max-new-tokens", "2", *flags]), formats

    return run


@VERBS
@pytest.mark.parametrize("flags", [(), ("--quantization", "int8"), NF4, (*NF4, SINGLE)])
def test_the_base_is_in_the_format_asked_for(run, name, flags):
    expected = number_format(flags[1], double_quantization=SINGLE not in flags) if flags else None
    assert run(name, *flags) == (0, [expected])


@VERBS
def test_scales_in_32_bits_are_nf4s_alone(run, capsys, name):
    for flags, says in (((), "only means something with"), (("--quantization", "int8"), "int8 has no scales")):
        assert run(name, SINGLE, *flags)[0] == 2
        assert says in capsys.readouterr().err
