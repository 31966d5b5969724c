"""What the contract suite runs over: methods, number formats, architectures; and models trained once for all rows."""

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tests.zoo import DECODERS, ENCODER_DECODERS, ENCODERS, FALCONS, VOCABULARY, batch, make
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.install import freeze, install, resting, trainable
from accorda.methods.prepare import prepare
from accorda.methods.registry import methods
from accorda.models.attention import Packing, use_attention
from accorda.quantization import formats, quantize_model

TEN = tuple(name for name in DECODERS if name not in ("gemma2", "falcon_multi_query", "falcon_alibi"))
OTHERS = ("gemma2", "falcon_alibi", *ENCODERS, *ENCODER_DECODERS)
DENSE = "dense"
FORMATS = (DENSE, *formats())
PAD = 0
RATE = 0.5
NUM_BATCHES = 8


@dataclass(frozen=True)
class Case:
    """A method by name, at its default settings, on one architecture in one number format."""

    name: str
    architecture: str
    number_format: str = DENSE

    def __str__(self) -> str:
        return f"{self.name}-{self.architecture}-{self.number_format}"

    @property
    def method(self) -> Method:
        """The method as its defaults make it, prepared where it asks for data."""
        return prepared(methods()[self.name](), self.architecture)

    @property
    def has_decoder(self) -> bool:
        """Whether the architecture generates."""
        return self.architecture not in ENCODERS

    @property
    def keeps_attention(self) -> bool:
        """Whether the model runs attention of its own and not ours."""
        return self.architecture in FALCONS

    def base(self) -> PreTrainedModel:
        """A fresh base model."""
        return copy.deepcopy(base_of(self.architecture, self.number_format))

    def built(self, seed: int = 0) -> PreTrainedModel:
        """A frozen base with the method installed, untrained."""
        torch.manual_seed(seed)
        return install(freeze(self.base()), self.method)

    def trained(self) -> PreTrainedModel:
        """A model after three steps; make a copy before changing it."""
        return trained_model(self)

    def inputs(self, rows: int = 3) -> dict[str, Tensor]:
        """A batch for the architecture."""
        return batch(self.architecture, rows)


def promised(cases: Sequence[Case]) -> list[Case]:
    """The cases that their method promises to work on."""
    return [
        case
        for case in cases
        if (methods()[case.name].traits.quantized_base or case.number_format == DENSE)
        and not (methods()[case.name].traits.needs_attention and case.keeps_attention)
    ]


def every_case() -> list[Case]:
    """All methods on the ten decoders, dense and in every number format."""
    return [Case(name, one, number) for name in methods() for one in TEN for number in FORMATS]


def other_cases() -> list[Case]:
    """All methods on encoders, encoder-decoders and two more decoders, dense; and in each number format on one of them.

    The methods take turns, so that each number format meets each of these architectures too.
    """
    dense = [Case(name, one) for name in methods() for one in OTHERS]
    turns = [
        Case(name, OTHERS[(turn + 3 * shift) % len(OTHERS)], number)
        for turn, name in enumerate(methods())
        for shift, number in enumerate(formats())
    ]
    return dense + turns


def prepared(method: Method, architecture: str) -> Method:
    """The method with what it wants to know of data: here a few rows of random tokens."""
    return prepare(
        base_of(architecture, DENSE), method, (batch(architecture, rows=1, seed=seed) for seed in range(NUM_BATCHES))
    )


@functools.cache
def base_of(architecture: str, number_format: str) -> PreTrainedModel:
    """The base model; never changed."""
    model = make(architecture)
    if number_format != DENSE:
        quantize_model(model, number_format)
    use_attention(model)
    return model


@functools.cache
def logits_of_base(architecture: str, number_format: str) -> Tensor:
    """What the base says to the batch."""
    with torch.no_grad():
        return base_of(architecture, number_format)(**batch(architecture)).logits


@functools.cache
def trained_model(case: Case) -> PreTrainedModel:
    """Three SGD steps of the method on the case's base."""
    model = case.built()
    train(model, case)
    return model


def train(model: PreTrainedModel, case: Case, steps: int = 3) -> None:
    """On a fixed batch, in training mode: by SGD, or by Adam where steps of SGD would round away."""
    model.train()
    parameters = list(trainable(model).values())
    lost = rounds_away(model, case)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(parameters, lr=0.05) if lost else torch.optim.SGD(parameters, lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model, case.inputs()).backward()
        optimizer.step()
    model.eval()


def rounds_away(model: PreTrainedModel, case: Case) -> bool:
    """Whether a step of SGD leaves a tensor as it is that has a gradient and must move (Compacter's, so near zero)."""
    loss_of(model, case.inputs()).backward()
    still = resting(model)
    moving = [tensor for name, tensor in trainable(model).items() if name not in still]
    steps = [(tensor.detach(), RATE * tensor.grad) for tensor in moving if tensor.grad is not None]
    return any(bool(step.any()) and torch.equal(tensor - step, tensor) for tensor, step in steps)


def loss_of(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    """Cross-entropy to fixed random labels."""
    logits = model(**inputs).logits.float()
    labels = torch.randint(VOCABULARY, logits.shape[:2], generator=torch.Generator().manual_seed(1))
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def gradients(model: PreTrainedModel) -> dict[str, Tensor]:
    """The gradient of everything that trains."""
    return {name: p.grad.clone() for name, p in trainable(model).items() if p.grad is not None}


def refusal_of(action: Callable[[], object], kinds: tuple[type[Exception], ...] = (Refusal,)) -> str:
    """The line with which the action is refused, or ''."""
    try:
        action()
    except kinds as refusal:
        return str(refusal)
    return ""


def packed(inputs: dict[str, Tensor], lengths: tuple[int, ...], decoder_lengths: tuple[int, ...] = ()) -> dict:
    """The first tokens of each row, end to end."""
    ends = tuple(sum(lengths[: i + 1]) for i in range(len(lengths)))
    ids = torch.cat([inputs["input_ids"][row, :length] for row, length in enumerate(lengths)])[None]
    if not decoder_lengths:
        return {"input_ids": ids, "packing": Packing((0, *ends))}
    decoder_ends = tuple(sum(decoder_lengths[: i + 1]) for i in range(len(decoder_lengths)))
    decoder_ids = torch.cat([inputs["decoder_input_ids"][row, :length] for row, length in enumerate(decoder_lengths)])[
        None
    ]
    return {"input_ids": ids, "decoder_input_ids": decoder_ids, "packing": Packing((0, *decoder_ends), (0, *ends))}
