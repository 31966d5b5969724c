"""DPO, GRPO and RLOO beside TRL, PPO beside a loop by hand: the same model, adapter at the start, prompts and settings.

A Llama of 77 million parameters (width 512, 8 blocks, GPT-2's vocabulary, untied, random weights), LoRA of rank 16 on
all linears. DPO learns 4 pairs a step from the bundled preferences, in fp32, so that its losses can be compared step by
step. The others, in bf16, answer 2 of GSM8K's questions 8 times a step, in 48 tokens at temperature 1, and are rewarded
by a function of the text. Random weights end no answer, so every side samples and learns the same number of tokens. TRL
samples by `transformers.generate`. TRL 1.16 has no PPO: its peer is a plain loop over `transformers.generate` with a
value head (`_rl_peers.hand`), two passes over a phase on both sides.

A side is a process of its own; they make their steps in turn, so that both meet the same machine, and the first step is
dropped. `times_as_many` is samples a second over the peer's, by the clock and by the processor's own seconds. Peaks are
of whole processes, imports included, and so is what is compared with the limit; `share_of_memory_beyond_imports` takes
from both what they held after imports.

Needs the folder with real data (`ACCORDA_SHARED`, or `../shared`), peft and trl. CASES names some of the cases;
RL_STEPS how many steps.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._cases import CHOSEN, GSM8K, asked_for
from benchmarks._in_turn import Measured, held, measured, serve
from benchmarks._rl_peers import hand, trl
from benchmarks._rl_settings import (
    ALGORITHMS,
    GENERATIONS,
    NEW_TOKENS,
    PAIRS,
    PROMPTS,
    RATE,
    STEPS,
    dtype,
    precision,
    reward_file,
)
from benchmarks.qlora_vs_peft import RANK, SHARED

__all__ = ["hand", "ours", "trl"]  # the sides
RESULT = Path(__file__).parent / "results" / "rl_vs_trl.json"
DROPPED = 1
LEAST, MOST_MEMORY, MOST_LOSS = 3.0, 0.5, 1e-3


def make_model(folder: Path, case: str) -> None:
    """Random weights with GPT-2's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "data/tokenizers/gpt2")
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})
    config = LlamaConfig(
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).to(dtype(case)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def recipe(place: Path, case: str) -> dict[str, Any]:
    """What accorda trains."""
    compares = case == "dpo"
    rows = PAIRS if compares else PROMPTS
    phases = {} if compares else {"reward": f"{place / 'rewards.py'}:score"}
    sampled = {} if compares else {"num_generations": GENERATIONS, "max_new_tokens": NEW_TOKENS, "temperature": 1.0}
    data = {"train": "bundled:preferences"} if compares else GSM8K
    return {
        "stage": "preference" if compares else "rl",
        "model": {"path": str(place / "model")},
        "data": {**data, "limit": rows * STEPS, "eval_split": 0.0, "max_length": 512, "overlong": "skip"},
        "method": {"name": "lora", "rank": RANK, "alpha": 2 * RANK},
        "algorithm": {"name": case, **ALGORITHMS[case]},
        **phases,
        **({"rollout": sampled} if sampled else {}),
        "training": {
            "batch_size": rows,
            "micro_batch_size": rows if compares else rows * GENERATIONS,
            "learning_rate": RATE,
            "schedule": "constant",
            "warmup_steps": 0,
            "max_grad_norm": 1.0,
            "precision": precision(case),
            "epochs": 1,
        },
        "output": str(place / "run"),
    }


def ours(place: Path) -> None:
    """Write the start and the rows, then make a step at every line of standard input; of PPO all updates of a phase."""
    from accorda.methods.storage import save_adapter
    from accorda.recipe.load import load
    from accorda.stages import rl
    from accorda.stages.build import build

    assert rl.STAGE
    before = held()["now"]
    case = json.loads((place / CHOSEN).read_text(encoding="utf-8"))
    session = build(load(recipe(place, case)))
    save_adapter(session.model, place / "start")
    (place / "steps.json").write_text(json.dumps(rows_of(session, case)), encoding="utf-8")
    updates = 1 if case == "dpo" else session.loop.carried.algorithm.updates

    def step(_: int) -> dict[str, float]:
        told = [session.loop.step() for _ in range(updates)]
        sampling = told[0].get("rollout/seconds", 0.0)
        return {"loss": told[0]["loss"], "sampling": sampling, "reward": told[0].get("reward/score", 0.0)}

    serve(step, lambda: held() | {"before": before})


def rows_of(session: Any, case: str) -> list[list[Any]]:
    """The rows of every step as a peer takes them: pairs of ids, or prompts as text."""
    updates = 1 if case == "dpo" else session.loop.carried.algorithm.updates
    steps = []
    for step in range(STEPS):
        segments = [session.train[int(row)] for row in session.batches.rows(step * updates)]
        steps.append([pair(one) if case == "dpo" else session.train.example(one.index).prompt for one in segments])
    return steps


def pair(segment: Any) -> dict[str, list[int]]:
    """A pair of answers behind their prompt."""
    chosen, rejected = (segment.answers[segment.ranks.index(rank)] for rank in (0, 1))
    start = segment.prompt_length
    ids = {"prompt_ids": chosen.input_ids[:start], "chosen_ids": chosen.input_ids[start:]}
    return {name: one.tolist() for name, one in {**ids, "rejected_ids": rejected.input_ids[start:]}.items()}


def figures(found: Measured, case: str, peer: str) -> dict[str, object]:
    """Ours beside the peer's."""
    (mine, theirs), (work, their_work) = ((spent["accorda"], spent[peer]) for spent in (found.seconds, found.processor))
    last = {side: told[-1] for side, told in found.steps.items()}
    beyond = {side: one["peak"] - one["before"] for side, one in last.items()}
    told = {
        "threads": int(os.environ.get("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))),
        **found.figures(),
        "times_as_many": round(theirs / mine, 3),
        "times_as_many_by_processor": round(their_work / work, 3),
        "share_of_memory": round(last["accorda"]["peak"] / last[peer]["peak"], 3),
        "share_of_memory_beyond_imports": round(beyond["accorda"] / beyond[peer], 3),
    }
    if case == "dpo":
        losses = zip(found.losses["accorda"], found.losses[peer], strict=True)
        apart = max(abs(a - b) for a, b in losses)
        reached = {"losses": apart <= MOST_LOSS, "memory": told["share_of_memory"] <= MOST_MEMORY}
        return {**told, "largest_difference_of_loss": round(apart, 6), "reached": reached}
    kept = found.steps["accorda"][DROPPED:]
    share = sum(one["sampling"] for one in kept) / sum(one["seconds"] for one in kept)
    their = found.steps[peer][DROPPED:]
    parts = {"accorda": round(share, 3)}
    if all("sampling" in one for one in their):
        parts[peer] = round(sum(one["sampling"] for one in their) / sum(one["seconds"] for one in their), 3)
    rewards = {side: round(sum(one["reward"] for one in steps) / len(steps), 4) for side, steps in found.steps.items()}
    told |= {"share_of_step_that_samples": parts, "mean_reward": rewards}
    return told if case == "ppo" else {**told, "reached": {"samples": told["times_as_many"] >= LEAST}}


def compare(case: str) -> dict[str, object]:
    """Both sides of a case in turn."""
    peer = "by_hand" if case == "ppo" else "trl"
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_model(place / "model", case)
        reward_file(place)
        (place / CHOSEN).write_text(json.dumps(case), encoding="utf-8")
        sides = {"accorda": "ours", peer: "hand" if case == "ppo" else "trl"}
        return figures(measured(__name__, sides, place, STEPS, DROPPED), case, peer)


def main() -> dict[str, object]:
    """Every case; what CASES does not name keeps the figures it has."""
    found = json.loads(RESULT.read_text(encoding="utf-8"))["figures"] if RESULT.exists() else {}
    return found | {case: compare(case) for case in asked_for(list(ALGORITHMS))}
