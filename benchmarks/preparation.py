"""From a file of rows to packed lines of tokens, beside `datasets.map` and TRL's packing.

The rows of GSM8K, 7,473 prompts with their completions, GPT-2's tokenizer, lines of 512 tokens. TRL reads the file with
`datasets`, adds the end-of-sequence token, tokenises, builds labels and packs as its SFTTrainer does at its start;
here the rows become a token store and the lines of an epoch are chosen. A side is a process of its own; they
prepare the rows in turn, each time from the file and without a cache, and no word of it seen before; the tokenizer is
read once. The first time is dropped. `processor` counts the seconds that the processors worked for a side. Needs the
folder with real data (`ACCORDA_SHARED`, or `../shared`), trl and datasets. REPEATS says how often.
"""

import json
import os
import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks._in_turn import measured, serve
from benchmarks.qlora_vs_peft import LENGTH, SHARED

REPEATS, DROPPED = int(os.environ.get("REPEATS", "6")), 1
SIDES = {"accorda": "ours", "trl": "theirs"}  # and the function that is one
BATCH = 32


def tokenizer() -> Any:
    """GPT-2's, which pads with its end-of-sequence token."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(SHARED / "data/tokenizers/gpt2")
    found.add_special_tokens({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})
    return found


def write_rows(file: Path, least: int = 0) -> int:
    """GSM8K as prompts and completions, repeated until the file has `least` bytes; the number of rows."""
    lines = (SHARED / "data/gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    text = "".join(json.dumps({"prompt": r["question"], "completion": r["answer"]}) + "\n" for r in rows)
    repeats = max(1, -(-least // len(text)))
    with file.open("w", encoding="utf-8") as out:
        for _ in range(repeats):
            out.write(text)
    return repeats * len(rows)


def renderer() -> Any:
    """What makes tokens of rows; it has read its tokenizer."""
    from accorda.data.renderer import Renderer

    made = Renderer(tokenizer())
    assert made.digest
    return made


def prepared(file: Path, store: Path, renderer: Any) -> int:
    """Rows to a token store and to the lines of an epoch; the number of lines."""
    from accorda.data.prepare import prepare
    from accorda.data.sampler import Batches
    from accorda.recipe.sections import DataSection

    if renderer.tokens.words is not None:
        renderer.tokens.words.known.clear()
    section = DataSection(train=str(file), eval_split=0.0, overlong="truncate")
    rows = prepare(section, renderer, max_length=LENGTH, store_folder=store)
    batches = Batches(rows, batch_size=BATCH, micro_tokens=LENGTH, packed=True)
    return sum(len(batches.groups(step)) for step in range(batches.steps_per_epoch))


def ours(place: Path) -> None:
    """Prepare the rows at every line of standard input."""
    rendering = renderer()

    def step(_: int) -> float:
        lines = prepared(place / "rows.jsonl", place / "store", rendering)
        shutil.rmtree(place / "store")
        return lines

    serve(step)


def theirs(place: Path) -> None:
    """The same by TRL; its trainer is made once, on a model of a few parameters, for the method that prepares."""
    import datasets
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    datasets.disable_caching()
    datasets.disable_progress_bars()
    words = tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=50257)
    )
    settings = SFTConfig(output_dir=str(place / "trl"), packing=True, max_length=LENGTH, use_cpu=True, report_to=[])
    few = datasets.Dataset.from_list([{"prompt": "a", "completion": "b"}])
    trainer = SFTTrainer(model=model, args=settings, train_dataset=few, processing_class=words)
    numbers = count()

    def step(_: int) -> float:
        cache = place / f"datasets{next(numbers)}"
        rows = datasets.load_dataset("json", data_files=str(place / "rows.jsonl"), split="train", cache_dir=str(cache))
        packed = trainer._prepare_dataset(rows, words, settings, True, None, "train")
        lines = len(packed)
        shutil.rmtree(cache)
        return lines

    serve(step)


def main() -> dict[str, object]:
    """Both sides in turn."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        rows = write_rows(place / "rows.jsonl")
        found = measured(__name__, SIDES, place, REPEATS, DROPPED)
    return {
        "rows": rows,
        "rows_per_second": {side: round(rows / took) for side, took in found.seconds.items()},
        "times_as_fast": round(found.seconds["trl"] / found.seconds["accorda"], 2),
        "processor_seconds": {side: round(took, 3) for side, took in found.processor.items()},
        "times_as_fast_by_processor_seconds": round(found.processor["trl"] / found.processor["accorda"], 2),
        "lines": {side: lines[-1] for side, lines in found.losses.items()},
        "peak_mb": {side: round(peak / 1e6, 1) for side, peak in found.peaks.items()},
    }
