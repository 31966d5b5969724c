"""Tokens that a base does not have: the tokenizer learns them, and the model gets rows for them.

A new token's row is the mean of the rows of all tokens that were there: its score is then the mean of theirs, so with n
new tokens beside V no probability falls by a factor of more than 1 + n / V. Hewitt, 2021, "Initializing New Word
Embeddings for Pretrained Language Models". Nothing is drawn, so every model grown alike is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from accorda.errors import Refusal
from accorda.models.fingerprint import shape_of_base

MOST_ALIGNED = 128  # rows: what a padded vocabulary is commonly padded to
ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class AddedTokens:
    """What a model was grown by: new tokens, their ids, and how many rows its vocabulary then has."""

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    num_rows: int

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.tokens) or not all(0 < number < self.num_rows for number in self.ids):
            raise ValueError(f"ids {self.ids} are not those of {len(self.tokens)} tokens in {self.num_rows} rows")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"tokens": list(self.tokens), "ids": list(self.ids), "num_rows": self.num_rows}


def added_tokens(model: PreTrainedModel) -> AddedTokens | None:
    """What the model was grown by; None for a model as its checkpoint has it."""
    return getattr(model, "accorda_added_tokens", None)


def add_to_tokenizer(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], model: PreTrainedModel, setting: str
) -> AddedTokens:
    """Teach the tokenizer new tokens, which it then finds verbatim in any text; and what the model must grow by.

    Rows that the model has beyond the tokenizer's length are used first. What is appended keeps the number of rows a
    multiple of the power of two, up to 128, that it was.

    Raises:
        Refusal: a token that is empty, named twice, known already, or for which the tokenizer finds no id of its own.
    """
    known = dict(tokenizer.get_vocab())
    for number, token in enumerate(tokens):
        if not token.strip():
            raise Refusal(f"{setting}: {token!r} is no token: write some text")
        if token in known:
            raise Refusal(
                f"{setting}: {token!r} is a token already (id {known[token]}); leave it out, or train its row with "
                f"method.name = rows, method.choose = index, method.index = [{known[token]}]"
            )
        if token in tokens[:number]:
            raise Refusal(f"{setting}: {token!r} is named twice")
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])
    ids = tuple(cast(list[int], tokenizer.convert_tokens_to_ids(list(tokens))))
    if len(set(ids) - set(known.values())) < len(tokens):
        raise Refusal(f"{setting}: this tokenizer's ids have gaps, so new tokens would get ids that others have")
    rows = _embedding(model).num_embeddings
    aligned = min(rows & -rows, MOST_ALIGNED)
    num_rows = max(rows, -(-(max(ids) + 1) // aligned) * aligned)
    return AddedTokens(tokens=tuple(tokens), ids=ids, num_rows=num_rows)


@torch.no_grad()
def grow(model: PreTrainedModel, added: AddedTokens) -> Callable[[], None]:
    """Give the model the rows, in embedding, head and what belongs to them; tied ones stay tied. Returns the way back.

    Modules and parameters stay the objects they are. Rows of known tokens keep every bit; new ones, and rows appended
    to fill up, become the mean of the known ones. The fingerprint stays that of the base.
    """
    embedding, head = _embedding(model), model.get_output_embeddings()
    old = embedding.num_embeddings
    known = min(min(added.ids), old)
    fresh = sorted({*added.ids, *range(old, added.num_rows)})
    held = [embedding.weight, *(head.parameters(recurse=False) if head is not None else ())]
    tensors = [t for t in [*dict.fromkeys(held), *model.buffers(recurse=False)] if old in (t.shape[0], t.shape[-1])]
    before = [tensor.data for tensor in tensors]
    noted = getattr(model, "accorda_fingerprint", None)
    cast(Any, model).accorda_fingerprint = shape_of_base(model) if noted is None else noted
    for tensor in tensors:
        tensor.data = _lengthened(tensor.data, added.num_rows, known, fresh)
    _tell(model, added, added.num_rows)

    def back() -> None:
        for tensor, data in zip(tensors, before, strict=True):
            tensor.data = data
        _tell(model, None, old)
        cast(Any, model).accorda_fingerprint = noted

    return back


def _lengthened(data: Tensor, num_rows: int, known: int, fresh: list[int]) -> Tensor:
    """A longer copy, with the mean of the known rows in the fresh ones: (V,), (V, D), or (1, V)."""
    if data.shape[0] == 1 and data.ndim == 2:  # a bias on logits
        return _lengthened(data.T, num_rows, known, fresh).T.contiguous()
    more = data.new_zeros(max(num_rows - data.shape[0], 0), *data.shape[1:])
    longer = torch.cat([data, more])
    total = torch.stack([part.double().sum(0) for part in data[:known].split(ROWS_AT_ONCE)]).sum(0)
    longer[torch.tensor(fresh, device=data.device)] = (total / known).to(data.dtype)
    return longer


def _tell(model: PreTrainedModel, added: AddedTokens | None, num_rows: int) -> None:
    """Everything that holds the number of rows is told the new one."""
    weight, head = _embedding(model).weight, model.get_output_embeddings()
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.weight is weight:
            module.num_embeddings = num_rows
    if isinstance(head, nn.Linear):
        head.out_features = num_rows
    cast(Any, model).accorda_added_tokens = added
    cast(Any, model).config.get_text_config().vocab_size = num_rows
    cast(Any, model).vocab_size = num_rows


def _embedding(model: PreTrainedModel) -> nn.Embedding:
    found = model.get_input_embeddings()
    if not isinstance(found, nn.Embedding):
        raise Refusal(f"{type(model).__name__} has no embedding that tokens could be added to")
    return found
