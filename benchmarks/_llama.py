"""Llama shapes with random bf16 weights for benchmarks on a GPU, their rows, and the peak of bf16 products there."""

import json
from dataclasses import dataclass
from pathlib import Path

TICKETS = Path(__file__).resolve().parents[1] / "src/accorda/data/bundled/long-tickets.jsonl"


@dataclass(frozen=True)
class Shape:
    """Of a decoder: width of its stream and of its feed-forward, heads of queries and of keys, vocabulary."""

    width: int
    wide: int
    heads: int
    key_heads: int
    words: int

    def weights(self, layers: int) -> int:
        """Weights of matrix products that a token meets: those of the blocks and the head."""
        attention = 2 * self.width**2 * (1 + self.key_heads / self.heads)
        return int(layers * (attention + 3 * self.width * self.wide) + self.width * self.words)


LLAMA_7B = Shape(4096, 11008, 32, 32, 32000)
LLAMA3_8B = Shape(4096, 14336, 32, 8, 128256)


def make_model(folder: Path, shape: Shape, layers: int, length: int) -> None:
    """Random weights, a file per block, drawn on the GPU, with the bundled tokenizer."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from accorda.models.load import load_tokenizer

    folder.mkdir(parents=True)
    config = LlamaConfig(
        hidden_size=shape.width,
        intermediate_size=shape.wide,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        vocab_size=shape.words,
        max_position_embeddings=length,
        tie_word_embeddings=False,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in LlamaForCausalLM(config).state_dict().items()}
    files: dict[str, list[str]] = {}
    for name in shapes:
        files.setdefault(name.split(".")[2] if ".layers." in name else "rest", []).append(name)
    torch.manual_seed(0)
    index = {}
    for part, names in files.items():
        tensors = {
            name: (
                torch.ones(shapes[name], dtype=torch.bfloat16)
                if "norm" in name
                else (0.02 * torch.randn(shapes[name], device="cuda")).bfloat16().cpu()
            )
            for name in names
        }
        file = f"model-{part}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config.save_pretrained(folder)
    load_tokenizer("bundled").save_pretrained(folder)
    torch.cuda.empty_cache()


def make_rows(path: Path, count: int, tickets_each: int) -> None:
    """Long rows of tickets, cut to the length by whoever reads them."""
    tickets = [json.loads(line)["prompt"] for line in TICKETS.read_text(encoding="utf-8").splitlines()]
    texts = [" ".join(tickets[(13 * row + at) % len(tickets)] for at in range(tickets_each)) for row in range(count)]
    rows = [{"prompt": "Tickets:", "completion": text} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def peaks() -> dict[str, int]:
    """What the allocator gave out, and reserved, at most."""
    import torch

    return {"peak": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}


def matmul_peak() -> float:
    """Floating-point operations a second of a large bf16 product, the best of some."""
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(10):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        a @ b
        end.record()
        end.synchronize()
        best = max(best, 2 * 8192**3 / (begin.elapsed_time(end) / 1e3))
    del a, b
    torch.cuda.empty_cache()
    return best
