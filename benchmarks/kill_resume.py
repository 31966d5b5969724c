"""Twenty runs killed with SIGKILL by progress and resumed: do they end in the uninterrupted run's bytes?

The rows, the model (random weights) and the tokenizer are made here, so that nothing has to be at hand.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_RUNS = 20
NUM_STEPS = 30
CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def make_model(folder: Path, dropout: float = 0.1) -> None:
    """A tiny decoder with a byte-level tokenizer, in Hugging Face format."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate(["<s>", "</s>", *alphabet])}
    inner = Tokenizer(models.BPE(vocab=words, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    settings = {key: value for key, value in CONFIG.items() if key != "model_type"}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), attention_dropout=dropout, **settings)).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)


def make_rows(path: Path) -> None:
    """Sums to learn, 400 of them."""
    draw = random.Random(0)
    pairs = [(draw.randrange(100), draw.randrange(100)) for _ in range(400)]
    rows = [{"prompt": f"{a} + {b} = ", "completion": str(a + b)} for a, b in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def command(*arguments: str) -> list[str]:
    """The command line of one call of accorda."""
    return [sys.executable, "-m", "accorda", *arguments]


def train_arguments(base: Path, output: Path) -> list[str]:
    """One run: with dropout, so that random generators matter, and with checkpoints close together."""
    return command(
        *("train", "--model", str(base / "model"), "--data", str(base / "rows.jsonl"), "--method", "lora"),
        *("method.dropout=0.1", f"training.max_steps={NUM_STEPS}", "training.batch_size=8"),
        *("training.checkpoint_every=4", "evaluation.every=10", "training.threads=1"),
        *("--lr", "0.001", "--output", str(output)),
    )


def steps_done(events: Path) -> int:
    """How far a run has come, from its event log."""
    if not events.exists():
        return 0
    return sum(b'"event": "step"' in line for line in events.read_bytes().splitlines())


def killed_run(base: Path, output: Path, kill_at: int, delay: float) -> bool:
    """Start a run, kill it some seconds after a step, resume it to its end; was it killed in time?"""
    process = subprocess.Popen(train_arguments(base, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and steps_done(output / "events.jsonl") < kill_at:
        time.sleep(0.005)
    time.sleep(delay)
    killed = process.poll() is None
    if killed:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    if not (output / "result.json").exists():
        again = command("resume", str(output)) if (output / "recipe.yaml").exists() else train_arguments(base, output)
        subprocess.run(again, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return killed


def digest(output: Path) -> str:
    """The adapter's bytes."""
    return hashlib.sha256((output / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()


def main(num_runs: int = NUM_RUNS) -> dict[str, object]:
    """Kills that landed, and how many of the resumed runs ended in the same bytes."""
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        make_model(base / "model")
        make_rows(base / "rows.jsonl")
        subprocess.run(
            train_arguments(base, base / "whole"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wanted, equal, killed, points = digest(base / "whole"), 0, 0, []
        for number in range(num_runs):
            kill_at, delay = draw.randrange(NUM_STEPS + 1), draw.random() * 0.05
            killed += killed_run(base, base / f"run-{number}", kill_at, delay)
            equal += digest(base / f"run-{number}") == wanted
            points.append(kill_at)
        return {"runs": num_runs, "killed": killed, "byte_equal": equal, "killed_after_step": points}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=NUM_RUNS)
    print(json.dumps(main(parser.parse_args().runs)))
