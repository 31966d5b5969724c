"""The tokenizer of a model folder, and the id that fills padded positions."""

import json
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from accorda.errors import Refusal
from accorda.models.folder import model_folder, one_line
from accorda.models.quiet import quiet

FILES = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"),
    *("tekken.json", "tokenizer.tiktoken"),
)


def load_tokenizer(path: str | Path, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder or hub id, as transformers' AutoTokenizer reads it.

    Raises Refusal where there is none, where its files are broken, or where it needs code of its own.
    """
    folder = model_folder(path, code=trust_remote_code)
    if not any((folder / name).is_file() for name in FILES):
        raise Refusal(f"model: {folder} has no tokenizer ({FILES[0]}); copy the tokenizer files of its base there")
    if not trust_remote_code and _needs_code(folder):
        raise Refusal(
            f"model: the tokenizer of {folder} needs code of its own; set model.trust_remote_code if you trust it"
        )
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:  # every file format and class of tokenizer fails in its own way
        raise Refusal(f"model: the tokenizer of {folder} cannot be read: {one_line(error)}") from error


def pad_token_id(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """The id that fills padded positions: never an end-of-sequence token where there is any other.

    Padded positions are masked, so the id only has to exist in the model's vocabulary.
    """
    config: Any = model.config.get_text_config()
    tokens: Any = tokenizer  # its special tokens are attributes made at run time
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    forbidden = {tokens.eos_token_id, *ends}
    size = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    named_so = (number for token, number in tokens.get_added_vocab().items() if "pad" in token.lower())
    for candidate in (tokens.pad_token_id, config.pad_token_id, *named_so, tokens.unk_token_id, tokens.bos_token_id):
        if candidate is not None and candidate not in forbidden and 0 <= candidate < size:
            return candidate
    return next((number for number in range(size) if number not in forbidden), 0)


def _needs_code(folder: Path) -> bool:
    """Whether the tokenizer is a class that ships with the folder."""
    settings = folder / "tokenizer_config.json"
    try:
        return settings.is_file() and "AutoTokenizer" in (json.loads(settings.read_text()).get("auto_map") or {})
    except ValueError as error:
        raise Refusal(f"{settings}: not valid JSON: {one_line(error)}") from error
