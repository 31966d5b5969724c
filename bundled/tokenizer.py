"""The bundled model's tokenizer: byte-level BPE, every digit a token of its own, ChatML's tokens for turns."""

import json
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 2048
END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, "<|pad|>", "<|im_start|>", END_OF_TURN)
WORDS = Regex(r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
TEMPLATE = Path(__file__).parents[1] / "src" / "accorda" / "data" / "templates" / "chatml.jinja"


def train(corpus: Path, documents: int, folder: Path, positions: int) -> None:
    """Learn the merges from the first documents of the corpus and write the tokenizer's files."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(WORDS, "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    with corpus.open(encoding="utf-8") as lines:
        tokenizer.train_from_iterator((json.loads(line)["text"] for line in islice(lines, documents)), trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token="<|pad|>",
        extra_special_tokens=["<|im_start|>", END_OF_TURN],
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
    ).save_pretrained(folder)
