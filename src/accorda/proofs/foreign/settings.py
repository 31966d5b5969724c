"""Tokenizer, template and generation settings: will the model stop, and is it asked the way it was taught?"""

from typing import Any

from jinja2 import TemplateError
from torch import nn
from transformers import PreTrainedTokenizerBase

from accorda.methods.storage.header import KEY as HEADER
from accorda.proofs.contract import Check, check
from accorda.proofs.foreign.folder import Folder, has_tokenizer

USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "It is 4."}
AGAIN = {"role": "user", "content": "And 3 + 3?"}


def settings(folder: Folder) -> list[Check]:
    """Every check of this file, in the order a reader asks."""
    tokenizer = folder.tokenizer
    if tokenizer is None:
        return [Check("tokenizer", "not applicable", "neither the folder nor its base holds a tokenizer")]
    return [
        _own_tokenizer(folder),
        _end_token(tokenizer),
        _pad_token(tokenizer),
        _stops(folder, tokenizer),
        *_template(folder, tokenizer),
        _fits_embedding(folder, tokenizer),
    ]


def _own_tokenizer(folder: Folder) -> Check:
    if has_tokenizer(folder.path):
        return Check("tokenizer saved", "holds", "the folder holds its tokenizer")
    return Check("tokenizer saved", "not applicable", "the folder holds no tokenizer; the base's was read instead")


def _end_token(tokenizer: PreTrainedTokenizerBase) -> Check:
    return check(
        "end token",
        tokenizer.eos_token_id is not None,
        f"eos is {tokenizer.eos_token!r} (id {tokenizer.eos_token_id})",
        "the tokenizer has no eos token, so no answer can end",
    )


def _pad_token(tokenizer: PreTrainedTokenizerBase) -> Check:
    if tokenizer.pad_token_id is None:
        return Check("pad token", "holds", "no pad token is set, so none can be taken for eos")
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        return Check("pad token", "holds", f"pad is {tokenizer.pad_token!r} (id {tokenizer.pad_token_id}), not eos")
    return Check(
        "pad token",
        "holds",
        f"pad and eos are both id {tokenizer.eos_token_id}: harmless where labels are masked by position; a trainer "
        "that masks by token id never teaches the end",
    )


def _stops(folder: Folder, tokenizer: PreTrainedTokenizerBase) -> Check:
    """generation_config stops at the token that ends an answer in the template, else at the tokenizer's eos."""
    stops = _ids(folder.generation.eos_token_id if folder.generation else None)
    turn_end = _turn_end(tokenizer)
    end = tokenizer.eos_token_id if turn_end is None else turn_end
    if not isinstance(end, int):
        return Check("generation stops", "fails", "there is no token that could end an answer")
    shown = f"{tokenizer.convert_ids_to_tokens(end)!r} (id {end})"
    return check(
        "generation stops",
        end in stops,
        f"generation stops at {shown}, which ends an answer",
        f"an answer ends with {shown}, generation stops at {sorted(stops) or 'nothing'}: set eos_token_id in "
        "generation_config.json",
    )


def _ids(value: Any) -> set[int]:
    return set() if value is None else {value} if isinstance(value, int) else set(value)


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token right after an assistant's words in the chat template, or None."""
    text = _render(tokenizer, [USER, ANSWER])
    if text is None or ANSWER["content"] not in text:
        return None
    tail = tokenizer(text.rpartition(ANSWER["content"])[2], add_special_tokens=False)["input_ids"]
    return next((token for token in tail if token in tokenizer.all_special_ids), None)


def _template(folder: Folder, tokenizer: PreTrainedTokenizerBase) -> list[Check]:
    if not tokenizer.chat_template:
        reason = "no chat template: prompts are plain text, and a chat would have to guess"
        return [Check("template", "not applicable", reason)]
    if _render(tokenizer, [USER, ANSWER]) is None:
        return [Check("template", "fails", "the chat template cannot render one question and one answer")]
    return [
        Check("template", "holds", "the chat template renders a question and an answer"),
        _same_template(folder, tokenizer),
        _keeps_prefixes(tokenizer),
        _single_bos(tokenizer),
    ]


def _same_template(folder: Folder, tokenizer: PreTrainedTokenizerBase) -> Check:
    """Serving often takes the base's template: say so where it is another one."""
    if folder.base is None or not has_tokenizer(folder.base) or not has_tokenizer(folder.path):
        return Check("template of the base", "not applicable", "there are not two tokenizers to compare")
    base = Folder(folder.base, "model", None).tokenizer
    same = base is not None and _render(base, [USER, ANSWER, AGAIN]) == _render(tokenizer, [USER, ANSWER, AGAIN])
    reason = "the same conversation gives the same text as with the base's template"
    other = "the base's template gives another text: a server that takes the base's asks what was never taught"
    return Check("template of the base", "holds", reason if same else other)


def _keeps_prefixes(tokenizer: PreTrainedTokenizerBase) -> Check:
    """What stood before an answer while it was generated still stands before it in the whole conversation."""
    prompt = _render(tokenizer, [USER], prompt=True)
    whole = [_render(tokenizer, turns) for turns in ([USER, ANSWER], [USER, ANSWER, AGAIN])]
    kept = prompt is not None and all(text is not None and text.startswith(prompt) for text in whole)
    return check(
        "template keeps prefixes",
        kept,
        "what is fed for a prompt is the beginning of what was rendered with its answer",
        f"the prompt {_tail(prompt)} is not the beginning of the conversation {_tail(whole[0])}: training and serving "
        "see different tokens",
    )


def _single_bos(tokenizer: PreTrainedTokenizerBase) -> Check:
    """BOS stands once when the template's text is tokenised the way trainers and servers do it."""
    bos, text = tokenizer.bos_token_id, _render(tokenizer, [USER, ANSWER]) or ""
    if bos is None:
        return Check("bos once", "not applicable", "the tokenizer has no bos token")
    apart = tokenizer(text, add_special_tokens=False)["input_ids"]
    again = tokenizer(text)["input_ids"]
    if apart[:2] == [bos, bos]:
        return Check("bos once", "fails", "the chat template itself writes bos twice")
    if again[:2] == [bos, bos]:
        return Check("bos once", "holds", "once, if the text is tokenised with add_special_tokens=False; twice without")
    return Check("bos once", "holds", "bos does not stand twice, with or without add_special_tokens")


def _fits_embedding(folder: Folder, tokenizer: PreTrainedTokenizerBase) -> Check:
    """Every token has a row in the embedding (tokens added without resizing index past its end)."""
    embedding = _embedding(folder)
    if embedding is None:
        return Check("tokens fit", "not applicable", "no base at hand to compare the tokenizer with")
    rows, tokens = embedding.num_embeddings, len(tokenizer)
    added = [shape[0] for name, shape in folder.tensors.shapes.items() if "embed_tokens" in name and len(shape) == 2]
    grown = (folder.config.get(HEADER) or {}).get("added_tokens") or {}
    rows = max([rows, *added, grown.get("num_rows", 0)])
    return check(
        "tokens fit",
        tokens <= rows,
        f"{tokens} tokens, {rows} rows in the embedding",
        f"{tokens} tokens, but only {rows} rows in the embedding: the added tokens have no vectors",
    )


def _embedding(folder: Folder) -> nn.Embedding | None:
    module = getattr(folder.skeleton, "get_input_embeddings", lambda: None)()
    return module if isinstance(module, nn.Embedding) else None


def _render(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], prompt: bool = False) -> str | None:
    if not tokenizer.chat_template:
        return None
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
    except (TemplateError, ValueError, TypeError, KeyError):
        return None
    return text if isinstance(text, str) else None


def _tail(text: str | None) -> str:
    return repr(text) if text is None or len(text) < 60 else f"...{text[-57:]!r}"
