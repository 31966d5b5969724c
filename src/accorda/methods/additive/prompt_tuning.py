"""Prompt tuning: The Power of Scale for Parameter-Efficient Prompt Tuning. Lester et al., 2021, arXiv:2104.08691.

    [e(p_1) ... e(p_P); e(x_1) ... e(x_T)]        P trained vectors (P, D) among the embedded tokens (T, D)

Starts away from the base: the vectors are there from the first step. Never merges.

init "vocabulary": embeddings of tokens drawn without replacement; "labels": one vector for each of `init_labels`, the
mean of its tokens' embeddings, and the rest from the vocabulary, as the paper does with class labels; "text": the
embeddings of `init_text`, repeated to P; "random": uniform around zero with the deviation that embeddings have.

Deviations: the paper draws from the 5,000 most common tokens, here from all, frequencies being unknown; its random
start is uniform on +-0.5, which suits T5's embeddings and drowns others; it works on T5, where vectors stand before the
encoder's input. "text" is not in the paper. Placement "placeholder" puts the vectors where ids are negative.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import PromptMethod, SoftPrompt, Traits
from accorda.models.load import load_tokenizer
from accorda.recipe.types import PositiveInt


@dataclass(frozen=True, kw_only=True)
class PromptTuning(PromptMethod):
    """Settings of prompt tuning; `init_ids` and `label_ids` are found by `prepare`."""

    paper = "arXiv:2104.08691"
    traits = Traits(mergeable=False, identity_at_init="no")

    num_virtual_tokens: PositiveInt = 20
    """how many vectors are trained"""
    placement: Literal["front", "placeholder"] = "front"
    """where they stand: front of every row, or placeholder (negative ids in the rows)"""
    init: Literal["vocabulary", "labels", "text", "random"] = "vocabulary"
    """how they start: vocabulary (embeddings of drawn tokens), labels (init_labels), text (init_text) or random"""
    init_labels: tuple[str, ...] = ()
    """the class labels, or other words, that init: labels starts from, one vector each"""
    label_ids: tuple[tuple[int, ...], ...] = ()
    """the tokens of each label; found when the run begins"""
    init_text: str | None = None
    """the text that init: text starts from"""
    init_ids: tuple[int, ...] = ()
    """the tokens of init_text; found when the run begins"""

    def __post_init__(self) -> None:
        given = {"text": self.init_text is not None or self.init_ids, "labels": self.init_labels or self.label_ids}
        for init, start in given.items():
            if self.init == init and not start:
                raise ValueError(f"init = {init}: give what to start from in init_{init}")
            if self.init != init and start:
                raise ValueError(f"init = {self.init}: has no use for init_{init}; leave it out, or say init: {init}")
        if len(self.init_labels) > self.num_virtual_tokens:
            raise ValueError(
                f"num_virtual_tokens = {self.num_virtual_tokens}: too few for the {len(self.init_labels)} init_labels; "
                "raise it"
            )

    def prepare(self, model: PreTrainedModel, batches: Iterable[Any]) -> "PromptTuning":
        """With the tokens of `init_text` or `init_labels`, as the model's own tokenizer writes them."""
        texts = self.init_labels if self.init_text is None else (self.init_text,)
        if not texts or self.init_ids or self.label_ids:
            return self
        if not model.name_or_path:
            where = "this model was not loaded from a folder or hub id, so has no tokenizer"
            raise Refusal(f"method.init = {self.init}: {where}")
        tokenizer = load_tokenizer(model.name_or_path)
        found = [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        if empty := [text for text, ids in zip(texts, found, strict=True) if not ids]:
            raise Refusal(f"method.init = {self.init}: {empty[0]!r} holds no token")
        return replace(self, label_ids=tuple(found)) if self.init == "labels" else replace(self, init_ids=found[0])

    def build(self, model: PreTrainedModel) -> SoftPrompt:
        """The vectors with their start values."""
        return PromptTuningPrompt(self, start(self, model))


class PromptTuningPrompt(SoftPrompt):
    """prompt_embeddings (P, D)."""

    def __init__(self, method: PromptTuning, embeddings: Tensor):
        super().__init__()
        self.num_virtual_tokens = method.num_virtual_tokens
        self.placement = method.placement
        self.prompt_embeddings = nn.Parameter(embeddings)

    def embeds(self) -> Tensor:
        """(P, D)."""
        return self.prompt_embeddings


@torch.no_grad()
def start(method: PromptTuning, model: PreTrainedModel) -> Tensor:
    """Start values (P, D), fp32, taken through the embedding module, which may scale (Gemma)."""
    embed, number = model.get_input_embeddings(), method.num_virtual_tokens
    weight = embed.get_parameter("weight")
    device, size = weight.device, weight.shape[0]
    if method.init in ("text", "labels") and not (method.init_ids or method.label_ids):
        raise Refusal(f"method.init = {method.init}: call accorda.prepare(model, method) first, it finds the tokens")
    if method.init == "text":
        ids = torch.tensor([method.init_ids[i % len(method.init_ids)] for i in range(number)], device=device)
        return embed(ids).float().clone()
    ids = torch.randperm(size, device="cpu")[torch.arange(number, device="cpu") % size].to(device)
    drawn = embed(ids).float()
    if method.init in ("vocabulary", "labels"):
        means = [embed(torch.tensor(label, device=device)).float().mean(0) for label in method.label_ids]
        return torch.stack([*means, *drawn[len(means) :]])
    bound = drawn.std() * 3**0.5  # a uniform variable on +-bound has deviation bound / sqrt(3)
    return torch.empty_like(drawn).uniform_(-1, 1) * bound
