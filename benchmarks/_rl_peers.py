"""The peers of `rl_vs_trl`: TRL's DPO, GRPO and RLOO trainers, and PPO as a loop by hand over transformers and peft.

The base stays in bf16, adapters are peft's in fp32 and begin with our numbers, products are bf16 under autocast, as
ours. Nothing is checkpointed. Every step is made at a line of standard input.
"""

import json
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import _trl
from benchmarks._cases import CHOSEN
from benchmarks._in_turn import held, serve
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
    score,
)

SHARED_SETTINGS: dict[str, Any] = {
    "max_steps": STEPS,
    "learning_rate": RATE,
    "save_strategy": "no",
    "disable_tqdm": True,
}


def trl(place: Path) -> None:
    """TRL's trainer of the case."""
    import peft
    import trl as library
    from datasets import Dataset
    from transformers import AutoTokenizer, LlamaForCausalLM

    assert all((peft.PeftModel, LlamaForCausalLM, library.DPOTrainer, library.GRPOTrainer, library.RLOOTrainer))
    before = held()["now"]
    case = json.loads((place / CHOSEN).read_text(encoding="utf-8"))
    rows = [row for step in json.loads((place / "steps.json").read_text(encoding="utf-8")) for row in step]
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    model = _trl.adapted(place / "model", place / "start", dtype=dtype(case))
    settings = {
        **_trl._fixed(),
        **SHARED_SETTINGS,
        "bf16": precision(case) == "bf16",
        "output_dir": str(place / "trainer"),
    }
    rewards: list[float] = []
    sampling: list[float] = []
    if case == "dpo":
        made = comparing(model, settings, Dataset.from_list(rows), tokenizer)
    else:
        data = Dataset.from_list([{"prompt": row} for row in rows])
        made = sampling_trainer(case, settings, rewards)(model, data, tokenizer)
        timed(made, sampling)

    def more(step: int) -> dict[str, float]:
        return {"reward": rewards[-1], "sampling": sampling[-1]} if rewards else {}

    _trl.serve_steps(made, lambda: held() | {"before": before}, more)


def comparing(model: Any, settings: dict[str, Any], data: Any, tokenizer: Any) -> Any:
    """A DPOTrainer over ready ids in their order."""
    from trl import DPOConfig, DPOTrainer

    class Ready(_trl._in_order(DPOTrainer)):
        def _prepare_dataset(self, dataset: Any, *arguments: Any, **more: Any) -> Any:
            return dataset

    config = DPOConfig(**settings, beta=ALGORITHMS["dpo"]["beta"], per_device_train_batch_size=PAIRS, max_length=512)
    return Ready(model=model, args=config, train_dataset=data, processing_class=tokenizer)


def sampling_trainer(case: str, settings: dict[str, Any], rewards: list[float]) -> Any:
    """A trainer that samples by `transformers.generate`; `rewards` gets the mean of every step."""
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    kind, config = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}[case]
    of_text = score()

    def judged(prompts: list[str], completions: list[str], **more: Any) -> list[float]:
        found = [of_text(prompt, one) for prompt, one in zip(prompts, completions, strict=True)]
        rewards.append(sum(found) / len(found))
        return found

    told = config(
        **settings,
        num_generations=GENERATIONS,
        per_device_train_batch_size=PROMPTS * GENERATIONS,
        max_completion_length=NEW_TOKENS,
        temperature=1.0,
        beta=ALGORITHMS[case]["kl_coef"],
        num_iterations=1,
        shuffle_dataset=False,
    )
    return lambda model, data, tokenizer: kind(
        model=model, reward_funcs=judged, args=told, train_dataset=data, processing_class=tokenizer
    )


def timed(trainer: Any, seconds: list[float]) -> None:
    """Note how long the trainer samples at every step."""
    real = trainer._generate_single_turn

    def sampled(*arguments: Any, **more: Any) -> Any:
        began = perf_counter()
        found = real(*arguments, **more)
        seconds.append(perf_counter() - began)
        return found

    trainer._generate_single_turn = sampled


def hand(place: Path) -> None:
    """PPO by hand."""
    loop = ByHand(place)
    serve(loop.step, lambda: held() | {"before": loop.before})


class ByHand:
    """Sample, score, GAE with whitened advantages, clipped losses; two passes over a phase in one batch each."""

    def __init__(self, place: Path) -> None:
        import peft
        import torch
        from transformers import AutoTokenizer, LlamaForCausalLM

        assert peft.PeftModel is not None
        assert LlamaForCausalLM is not None
        self.before = held()["now"]
        self.tokenizer = AutoTokenizer.from_pretrained(place / "model", padding_side="left")
        self.steps = json.loads((place / "steps.json").read_text(encoding="utf-8"))
        self.model = _trl.adapted(place / "model", place / "start", dtype=dtype("ppo"))
        self.head = torch.nn.Linear(self.model.config.hidden_size, 1)
        torch.nn.init.zeros_(self.head.weight)
        self.trained = [one for one in [*self.model.parameters(), *self.head.parameters()] if one.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=RATE, weight_decay=0.0, fused=True)
        self.score = score()

    def step(self, number: int) -> dict[str, float]:
        """A phase."""
        import torch

        end = self.tokenizer.eos_token_id
        prompts = [prompt for prompt in self.steps[number] for _ in range(GENERATIONS)]
        asked = self.tokenizer(prompts, return_tensors="pt", padding=True)
        began = perf_counter()
        ids = self.sampled(asked, end)
        sampling = perf_counter() - began
        width = ids.shape[1] - asked["input_ids"].shape[1]
        answers = ids[:, -width:]
        live = ((answers == end).cumsum(-1) - (answers == end).long() == 0).float()
        mask = torch.cat((asked["attention_mask"], live.long()), 1)
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        scores = torch.tensor([self.score(prompt, text) for prompt, text in zip(prompts, texts, strict=True)])
        with torch.no_grad():
            old, values = self.passed(ids, mask, width)
            with self.model.disable_adapter():
                reference, _ = self.passed(ids, mask, width)
        rewards = -ALGORITHMS["ppo"]["kl_coef"] * (old - reference) * live
        rewards[torch.arange(len(ids)), live.sum(-1).long() - 1] += scores
        advantages, returns = estimated(rewards, values * live, live)
        losses = []
        for _ in range(ALGORITHMS["ppo"]["num_epochs"]):
            new, valued = self.passed(ids, mask, width)
            losses.append(self.learned(new - old, advantages, valued, values * live, returns, live))
        return {"loss": losses[0], "sampling": sampling, "reward": float(scores.mean())}

    def sampled(self, asked: Any, end: int) -> Any:
        """Prompts with answers, by `transformers.generate`."""
        import torch

        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return self.model.generate(
                **asked,
                max_new_tokens=NEW_TOKENS,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                pad_token_id=end,
            )

    def passed(self, ids: Any, mask: Any, width: int) -> tuple[Any, Any]:
        """Log-probabilities of the sampled tokens and values before them, (B, T) each."""
        import torch

        with torch.autocast("cpu", torch.bfloat16):
            out = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
                logits_to_keep=width + 1,
                output_hidden_states=True,
            )
        logits = out.logits[:, :-1].float()
        found = logits.log_softmax(-1).gather(-1, ids[:, -width:, None])[..., 0]
        return found, self.head(out.hidden_states[-1][:, -width - 1 : -1].float())[..., 0]

    def learned(self, apart: Any, advantages: Any, valued: Any, values: Any, returns: Any, live: Any) -> float:
        """An optimizer step; its loss."""
        import torch

        ratio = apart.exp()
        policy = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2))
        near = values + (valued - values).clamp(-0.2, 0.2)
        value = torch.maximum((valued - returns) ** 2, (near - returns) ** 2) / 2
        loss = ((policy + 0.1 * value) * live).sum() / live.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


def estimated(rewards: Any, values: Any, live: Any) -> tuple[Any, Any]:
    """Whitened advantages by GAE at 0.95, and returns, (B, T) each."""
    import torch

    advantages, later = torch.zeros_like(values), torch.zeros(len(values))
    for at in reversed(range(values.shape[1])):
        following = values[:, at + 1] if at + 1 < values.shape[1] else torch.zeros(len(values))
        later = rewards[:, at] + following - values[:, at] + 0.95 * later
        advantages[:, at] = later
    known = advantages[live > 0]
    return (advantages - known.mean()) / (known.std() + 1e-8), advantages + values
