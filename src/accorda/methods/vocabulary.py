"""New tokens under methods: the model grows by them, and their rows train."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accorda.errors import Refusal
from accorda.methods.contract import Method, ParameterMethod
from accorda.methods.routing import routing
from accorda.methods.selective.rows import Rows
from accorda.models.vocabulary import AddedTokens, add_to_tokenizer, added_tokens, grow


def add_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], *, setting: str = "tokens"
) -> Rows:
    """Teach a tokenizer and its model new tokens. Returns the method that trains their rows, and nothing else.

    `install(freeze(model), (LoRA(), add_tokens(model, tokenizer, ["<ticket>"])))`. A saved adapter brings the tokens
    along, and its loader grows the base by them. The rows stay on the model when the adapter is removed.

    Args:
        model: a base without adapters on its embedding.
        tokenizer: the base's.
        tokens: found verbatim in any text from now on.
        setting: what a refusal calls them.

    Raises:
        Refusal: a token that cannot be one or is one already; a model that was grown before.
    """
    if (before := added_tokens(model)) is not None:
        raise Refusal(f"{setting}: this model was given {_told(before)} already: give all tokens at once")
    grow_by(model, add_to_tokenizer(tokenizer, tokens, model, setting))
    return new_rows(model)


def new_rows(model: PreTrainedModel) -> Rows:
    """The method that trains the rows of the tokens the model was grown by: in the embedding, and in the head."""
    added = added_tokens(model)
    assert added is not None
    places = ("embedding",) if model.get_output_embeddings() is None else ("embedding", "head")
    return Rows(target_modules=places, choose="index", index=added.ids)


def with_new_rows(model: PreTrainedModel, methods: tuple[Method, ...]) -> tuple[Method, ...]:
    """The methods, and beside them the one that trains the rows of new tokens, where there are and none does so."""
    if added_tokens(model) is None:
        return methods
    rows = new_rows(model)
    if any(method == rows or _is_default(method) for method in methods):
        return tuple(rows if _is_default(method) else method for method in methods)
    trained = rows.chosen(model).keys()
    chosen = [method.chosen(model) for method in methods if isinstance(method, ParameterMethod)]
    whole = {name for one in chosen for name, entries in one.items() if entries is None}
    return methods if trained <= whole else (*methods, rows)


def _is_default(method: Method) -> bool:
    """Whether this is `Rows` as nobody set it, whatever the data chose for it."""
    return isinstance(method, Rows) and replace(method, found=()) == Rows()


def without_new_rows(model: PreTrainedModel, methods: tuple[Method, ...]) -> tuple[Method, ...]:
    """The methods without the one that `with_new_rows` put beside them."""
    beside = added_tokens(model) is not None and len(methods) > 1 and methods[-1] == new_rows(model)
    return methods[:-1] if beside else methods


def grow_by(model: PreTrainedModel, added: AddedTokens) -> Callable[[], None]:
    """Grow the model, unless it has these tokens. Returns the way back.

    Raises:
        Refusal: it was grown by others, or an adapter on it trains the whole embedding.
    """
    before = added_tokens(model)
    if before == added:
        return lambda: None
    if before is not None:
        raise Refusal(f"this model was given {_told(before)}, and {_told(added)} are wanted: open the base anew")
    embedding = model.get_input_embeddings()
    for original in routing(model).originals:
        if original.module is embedding:
            raise Refusal(
                f"adapter {original.owners()[0]!r} trains {original.name} whole: add tokens before installing it"
            )
    return grow(model, added)


def _told(added: AddedTokens) -> str:
    first = ", ".join(map(repr, added.tokens[:3]))
    return f"the tokens {first}" + (f" and {len(added.tokens) - 3} more" if len(added.tokens) > 3 else "")
