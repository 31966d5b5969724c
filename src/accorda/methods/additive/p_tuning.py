"""P-tuning: GPT Understands, Too. Liu, Zheng, Du, Ding, Qian, Yang, Tang, 2021, arXiv:2103.10385, section 2.

    [h_1 ... h_P] = W_2 relu(W_1 BiLSTM(E) + b_1) + b_2        E (P, D); BiLSTM of two layers, d / 2 each way, so (P, d)

The vectors h (P, D) stand among the embedded tokens, in front or where the template has placeholders. All but them is
for training only: a saved adapter holds the P D numbers and trains them directly when it goes on.

Starts away from the base: the vectors are there from the first step. Never merges.

encoder "bilstm", the paper's: W_1 (d, d), W_2 (D, d), and d = D, so that 12 D^2 + 16 D parameters of the LSTM train,
2 (D^2 + D) of the layers after it, and P D. "mlp", PEFT's default: three linears D -> d -> d -> D with relu between.
"none": the vectors alone.

Deviations: by default the vectors stand in front; the paper's templates spread them around the text, which placement
"placeholder" does. The paper tunes the model's own weights with them on SuperGLUE; here the base is frozen.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.methods.contract import PromptMethod, SoftPrompt, Traits
from accorda.recipe.types import Auto, PositiveInt


@dataclass(frozen=True, kw_only=True)
class PTuning(PromptMethod):
    """Settings of P-tuning."""

    paper = "arXiv:2103.10385"
    traits = Traits(mergeable=False, identity_at_init="no", training_only_part=True)

    num_virtual_tokens: PositiveInt = 20
    """how many vectors there are"""
    placement: Literal["front", "placeholder"] = "front"
    """where they stand: front of every row, or placeholder (negative ids in the rows)"""
    encoder: Literal["bilstm", "mlp", "none"] = "bilstm"
    """what gives them while training: bilstm (the paper's), mlp (PEFT's default) or none (they train themselves)"""
    hidden_size: PositiveInt | Auto = "auto"
    """width d inside the encoder, even for bilstm; auto: the model's"""

    def __post_init__(self) -> None:
        if self.encoder == "none" and self.hidden_size != "auto":
            raise ValueError(
                f"hidden_size = {self.hidden_size}: without an encoder it sets nothing; leave it out, or say "
                "encoder: bilstm or mlp"
            )
        if self.encoder == "bilstm" and self.hidden_size != "auto" and self.hidden_size % 2:
            raise ValueError(f"hidden_size = {self.hidden_size}: the two directions of bilstm need an even number")

    def kept(self) -> Self:
        """The vectors themselves."""
        return replace(self, encoder="none", hidden_size="auto")

    def build(self, model: PreTrainedModel) -> SoftPrompt:
        """The vectors, or the encoder that gives them, with their start values."""
        width = model.get_input_embeddings().get_parameter("weight").shape[1]
        return Vectors(self, width) if self.encoder == "none" else EncodedVectors(self, width)


class Vectors(SoftPrompt):
    """prompt_embeddings (P, D)."""

    def __init__(self, method: PTuning, width: int):
        super().__init__()
        self.num_virtual_tokens = method.num_virtual_tokens
        self.placement = method.placement
        self.prompt_embeddings = nn.Parameter(torch.randn(method.num_virtual_tokens, width))

    def embeds(self) -> Tensor:
        """(P, D)."""
        return self.prompt_embeddings


class EncodedVectors(SoftPrompt):
    """embeddings E (P, D), and the encoder."""

    def __init__(self, method: PTuning, width: int):
        super().__init__()
        self.num_virtual_tokens = method.num_virtual_tokens
        self.placement = method.placement
        self.embeddings = nn.Parameter(torch.randn(method.num_virtual_tokens, width))
        hidden = width if method.hidden_size == "auto" else method.hidden_size
        self.lstm = None
        if method.encoder == "bilstm":
            self.lstm = nn.LSTM(width, hidden // 2, num_layers=2, bidirectional=True)
            layers = [nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width)]
        else:
            layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
            layers.append(nn.Linear(hidden, width))
        self.mlp = nn.Sequential(*layers)

    def embeds(self) -> Tensor:
        """(P, D); in full precision also under autocast, for which not every device has an LSTM."""
        with torch.autocast(self.embeddings.device.type, enabled=False):
            states = self.embeddings if self.lstm is None else self.lstm(self.embeddings)[0]
            return self.mlp(states)

    @torch.no_grad()
    def kept(self) -> dict[str, Tensor]:
        """The vectors."""
        return {"prompt_embeddings": self.embeds()}
