"""Rows: Efficient Fine-Tuning of BERT Models on the Edge. Vucetic et al., 2022, arXiv:2205.01541.

    y_r = (W_r + d_r) x + b_r        d_r (I,) trained for the chosen output rows r of W (O, I), d_r = 0 for the others

Of an embedding (V, D) a row is a token's vector, of a head a token's scores: so new tokens are taught. Starts as the
base exactly: d is zero. Merges: W + d. Only the entries of chosen rows have optimizer states.

choose "occurring": the tokens that the data has most often, which `prepare` counts: a rare token's row hardly learns,
and one that never comes learns only as the row of a tied head. "fisher": the rows that the loss of the data feels most,
the sum over a row of its squared gradients (arXiv:2111.09839), which `prepare` measures. "index": the rows of `index`.
"largest", "smallest": by the norm of the row, without data.

Deviations: the paper trains rows of feed-forward layers only, by how far they moved in a first stretch of full
training, and moves them together into one matrix; here they stay where they are. Biases are left alone. Weights held in
a number format have no rows to add to; embedding and head are always dense.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from accorda.errors import Refusal
from accorda.methods.contract import ParameterMethod, Traits
from accorda.methods.maths.fisher import squared_gradients
from accorda.methods.targets import base_parameters
from accorda.models.roles import Site, find
from accorda.quantization.contract import QuantizedLinear
from accorda.recipe.types import NonNegativeInt, PositiveInt

BY_DATA = ("occurring", "fisher")
TOKENS, IDS = ("embedding", "head"), ("input_ids", "decoder_input_ids")


@dataclass(frozen=True, kw_only=True)
class Rows(ParameterMethod):
    """Settings of training rows; `found` are those that `prepare` chose."""

    paper = "arXiv:2205.01541"
    traits = Traits(mergeable=True, identity_at_init="exact")

    target_modules: str | tuple[str, ...] = "embedding"
    """which matrices: embedding, head, a role (mlp.up), a module name, all-linear, or a list of them"""
    choose: Literal["occurring", "fisher", "index", "largest", "smallest"] = "occurring"
    """which rows of each: occurring (tokens most often in the data), fisher (those the loss feels most), index (given),
    largest or smallest (by norm)"""
    num_rows: PositiveInt = 64
    """how many rows of each matrix train, where they are chosen"""
    index: tuple[NonNegativeInt, ...] = ()
    """the rows by number, for choose: index"""
    num_batches: PositiveInt = 128
    """how many rows of the data occurring and fisher are measured on"""
    found: tuple[tuple[str, tuple[NonNegativeInt, ...]], ...] = ()
    """the rows that the data chose in each matrix; found when the run begins"""

    def __post_init__(self) -> None:
        if self.choose == "index" and not self.index:
            raise ValueError("choose = index: say which rows, as index: [5, 7]")
        if self.choose != "index" and self.index:
            raise ValueError(f"index = {[*self.index[:3]]}: choose: {self.choose} finds the rows; say choose: index")
        if self.choose == "index" and self.num_rows != type(self).num_rows:
            raise ValueError(f"num_rows = {self.num_rows}: choose: index trains the rows in index; leave it out")
        if self.choose not in BY_DATA and self.num_batches != type(self).num_batches:
            raise ValueError(f"num_batches = {self.num_batches}: choose: {self.choose} reads no data; leave it out")
        if len(set(self.index)) != len(self.index):
            raise ValueError(f"index = {max(self.index, key=self.index.count)}: this row is there twice; name it once")

    def prepare(self, model: PreTrainedModel, batches: Iterable[Mapping[str, Any]]) -> "Rows":
        """With the rows that the batches choose: inputs of the model, for fisher with labels and best a row each."""
        places = matrices(model, self.target_modules)
        if self.choose not in BY_DATA or self.found or any(weight_of(site).is_meta for site in places.values()):
            return self
        measure = occurrences if self.choose == "occurring" else felt
        scores = measure(model, places, islice(batches, self.num_batches))
        found = [(label, tuple(self._best(places[label], score).tolist())) for label, score in scores.items()]
        return replace(self, found=tuple(found))

    def chosen(self, model: PreTrainedModel) -> dict[str, Tensor | None]:
        """The entries of the chosen rows of every matrix."""
        names = {id(parameter): name for name, parameter in base_parameters(model).items()}
        entries: dict[str, list[Tensor]] = {}
        for label, site in matrices(model, self.target_modules).items():
            rows = self._rows(label, site)
            entries.setdefault(names[id(weight_of(site))], []).append(entries_of(site, rows))
        return {name: torch.cat(parts) for name, parts in entries.items()}

    def resting(self, name: str, model: PreTrainedModel) -> str | None:
        """Rows of tokens that the data does not have, unless the embedding is the head's weight too."""
        head, weight = model.get_output_embeddings(), model.get_input_embeddings().get_parameter("weight")
        if base_parameters(model).get(name) is weight and (head is None or head.get_parameter("weight") is not weight):
            return "a token's row learns only where the data has the token"
        return super().resting(name, model)

    def _rows(self, label: str, site: Site) -> Tensor:
        """The numbers of the chosen rows among those of the site, (n,)."""
        weight = weight_of(site)
        if self.choose == "index":
            if max(self.index) >= size_of(site):
                raise Refusal(f"method.index: {max(self.index)}: {label} ({site.role}) has {size_of(site)} rows")
            return torch.tensor(self.index, device=weight.device)
        if weight.is_meta:  # as many, whichever they are
            return self._best(site, torch.empty(size_of(site), device="meta"))
        if self.choose in BY_DATA:
            if label not in (found := dict(self.found)):
                raise Refusal(f"method.choose = {self.choose}: call accorda.prepare(model, method, batches) first")
            return torch.tensor(found[label], device=weight.device)
        return self._best(site, of_rows(site, weight.detach().float().square()))

    def _best(self, site: Site, scores: Tensor) -> Tensor:
        """The rows of the largest scores, or of the smallest, in their order."""
        if self.num_rows > size_of(site):
            raise Refusal(f"method.num_rows = {self.num_rows}: {site.name} ({site.role}) has {size_of(site)} rows")
        return scores.topk(self.num_rows, largest=self.choose != "smallest").indices.sort().values


def felt(model: PreTrainedModel, places: Mapping[str, Site], batches: Iterable[Mapping[str, Any]]) -> dict[str, Tensor]:
    """The Fisher information (O,) of every row of the sites."""
    weights = {label: weight_of(site) for label, site in places.items()}
    return squared_gradients(model, weights, batches, lambda label, squares: of_rows(places[label], squares))


def occurrences(
    model: PreTrainedModel, places: Mapping[str, Site], batches: Iterable[Mapping[str, Any]]
) -> dict[str, Tensor]:
    """How often each token (V,) stands in the batches, of alike ones the lower a little more often."""
    for site in places.values():
        if site.role not in TOKENS:
            raise Refusal(
                f"method.choose = occurring: {site.name} ({site.role}) has no row for each token; "
                "say fisher, largest, smallest or index"
            )
    ids = [batch[name].flatten() for batch in batches for name in IDS if name in batch]
    if not ids:
        raise Refusal("method.choose = occurring: there is no batch to count tokens in; give some to prepare")
    joined = torch.cat(ids)
    counts = {label: joined[joined >= 0].bincount(minlength=size_of(site)) for label, site in places.items()}
    return {label: count - torch.linspace(0, 0.5, len(count)).to(count.device) for label, count in counts.items()}


def matrices(model: PreTrainedModel, targets: str | tuple[str, ...]) -> dict[str, Site]:
    """The sites of the targets by a label of their own; a weight that two modules share (a tied head) once."""
    found, seen = {}, set()
    for site in find(model, targets):
        if isinstance(site.module, QuantizedLinear):
            raise Refusal(
                f"method.target_modules: rows trains dense weights, and {site.name} is held in a number format: "
                "load the base dense, or name embedding or head"
            )
        weight = weight_of(site)
        if weight.ndim != 2:
            raise Refusal(f"method.target_modules: rows acts on matrices, and {site.name} ({site.role}) is none")
        if site.rows is not None or id(weight) not in seen:
            found[site.name if site.rows is None else f"{site.name}.{site.role.rpartition('.')[2]}"] = site
        seen.add(id(weight))
    return found


def weight_of(site: Site) -> nn.Parameter:
    """The weight of the site's module, in the module's layout."""
    return site.module.get_parameter("weight")


def size_of(site: Site) -> int:
    """The number O of the site's rows: output features, or tokens of an embedding."""
    if site.rows is not None:
        return len(site.rows)
    return weight_of(site).shape[1 if isinstance(site.module, Conv1D) else 0]


def of_rows(site: Site, squares: Tensor) -> Tensor:
    """The sums (O,) over every output row of the site, from the squares of its module's weight."""
    sums = squares.sum(0 if isinstance(site.module, Conv1D) else 1)
    return sums if site.rows is None else sums[site.rows.to(sums.device)]


def entries_of(site: Site, rows: Tensor) -> Tensor:
    """The numbers of the entries of these rows in the flattened weight, (n * I,)."""
    if site.rows is not None:
        rows = site.rows.to(rows.device)[rows]
    height, width = weight_of(site).shape
    if isinstance(site.module, Conv1D):  # stored as (I, O)
        return (torch.arange(height, device=rows.device)[None] * width + rows[:, None]).flatten()
    return (rows[:, None] * width + torch.arange(width, device=rows.device)[None]).flatten()
