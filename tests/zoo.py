"""Tiny random models of real transformers classes, and tiny model folders with a tokenizer, for every part's tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

hf.logging.set_verbosity_error()
hf.logging.disable_progress_bar()

VOCABULARY = 67
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
CORPUS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.",
    "How many clips did Natalia sell altogether in April and May? The answer is 72.",
    "Once upon a time there was a little girl named Lily. She loved to play outside in the park.",
    "system user assistant question answer instruction input output",
)


def _llama_like(config: type[PretrainedConfig], **more: Any) -> PretrainedConfig:
    return config(
        **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        | {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "vocab_size": VOCABULARY}
        | SPECIAL
        | more
    )


def _falcon(**more: Any) -> PretrainedConfig:
    return hf.FalconConfig(
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCABULARY}
        | SPECIAL
        | more
    )


def _encoder(config: type[PretrainedConfig], **more: Any) -> PretrainedConfig:
    return config(
        **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        | {"max_position_embeddings": 66, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        | {"vocab_size": VOCABULARY}
        | SPECIAL
        | more
    )


def _distilbert() -> PretrainedConfig:
    return hf.DistilBertConfig(
        **{"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 66, "dropout": 0.0}
        | {"attention_dropout": 0.0, "seq_classif_dropout": 0.0, "vocab_size": VOCABULARY}
        | SPECIAL
    )


def _gpt2() -> PretrainedConfig:
    return hf.GPT2Config(
        **{"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": VOCABULARY}
        | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        | SPECIAL
    )


def _t5() -> PretrainedConfig:
    return hf.T5Config(
        **{"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
        | {"vocab_size": VOCABULARY, "decoder_start_token_id": 0}
        | SPECIAL
    )


def _bart() -> PretrainedConfig:
    return hf.BartConfig(
        **{"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64, "dropout": 0.0}
        | {"vocab_size": VOCABULARY, "decoder_start_token_id": 2}
        | SPECIAL
    )


ARCHITECTURES: dict[str, tuple[type[PreTrainedModel], Callable[[], PretrainedConfig]]] = {
    "llama": (hf.LlamaForCausalLM, lambda: _llama_like(hf.LlamaConfig)),
    "mistral": (hf.MistralForCausalLM, lambda: _llama_like(hf.MistralConfig, sliding_window=5)),
    "qwen2": (hf.Qwen2ForCausalLM, lambda: _llama_like(hf.Qwen2Config)),
    "qwen3": (hf.Qwen3ForCausalLM, lambda: _llama_like(hf.Qwen3Config)),
    "gemma": (hf.GemmaForCausalLM, lambda: _llama_like(hf.GemmaConfig)),
    "gemma2": (
        hf.Gemma2ForCausalLM,
        lambda: _llama_like(
            hf.Gemma2Config,
            sliding_window=5,
            final_logit_softcapping=0.5,
            attn_logit_softcapping=1.5,
            query_pre_attn_scalar=8,
        ),
    ),
    "phi": (hf.PhiForCausalLM, lambda: _llama_like(hf.PhiConfig)),
    "phi3": (hf.Phi3ForCausalLM, lambda: _llama_like(hf.Phi3Config)),
    "gpt_neox": (hf.GPTNeoXForCausalLM, lambda: _llama_like(hf.GPTNeoXConfig)),
    "falcon_new": (
        hf.FalconForCausalLM,
        lambda: _falcon(num_kv_heads=2, new_decoder_architecture=True, bias=False),
    ),
    "falcon_multi_query": (hf.FalconForCausalLM, lambda: _falcon(multi_query=True)),
    "falcon_alibi": (
        hf.FalconForCausalLM,
        lambda: _falcon(multi_query=False, alibi=True, parallel_attn=False, bias=True),
    ),
    "gpt2": (hf.GPT2LMHeadModel, _gpt2),
    "bert": (hf.BertForMaskedLM, lambda: _encoder(hf.BertConfig)),
    "roberta": (hf.RobertaForMaskedLM, lambda: _encoder(hf.RobertaConfig, pad_token_id=1, bos_token_id=0)),
    "distilbert": (hf.DistilBertForMaskedLM, _distilbert),
    "electra": (hf.ElectraForMaskedLM, lambda: _encoder(hf.ElectraConfig, embedding_size=32)),
    "t5": (hf.T5ForConditionalGeneration, _t5),
    "bart": (hf.BartForConditionalGeneration, _bart),
}
ENCODERS = ("bert", "roberta", "distilbert", "electra")
ENCODER_DECODERS = ("t5", "bart")
FALCONS = ("falcon_new", "falcon_multi_query", "falcon_alibi")
DECODERS = tuple(name for name in ARCHITECTURES if name not in ENCODERS + ENCODER_DECODERS)


def configuration(name: str, **overrides: Any) -> PretrainedConfig:
    """The tiny configuration of one architecture; `overrides` replaces fields."""
    config = ARCHITECTURES[name][1]()
    for field, value in overrides.items():
        setattr(config, field, value)
    return config


def make(name: str, seed: int = 0, meta: bool = False, **overrides: Any) -> PreTrainedModel:
    """A tiny random model in eval mode; no parameter is zero, none is one, so that a forgotten one shows."""
    config = configuration(name, **overrides)
    config._attn_implementation = "eager" if name == "gemma2" else "sdpa"
    torch.manual_seed(seed)
    with torch.device("meta" if meta else "cpu"):
        model = ARCHITECTURES[name][0](config)
    if not meta:
        randomise(model, seed)
    return model.eval()


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Draw every parameter and trained-like buffer anew: norms around their neutral value, everything else around 0."""
    generator = torch.Generator().manual_seed(seed + 9)
    for name, parameter in model.named_parameters():
        neutral = 1.0 if parameter.ndim == 1 and "norm" in name.lower() and "bias" not in name else 0.0
        if "Gemma" in type(model).__name__:
            neutral = 0.0  # Gemma's norms multiply by 1 + weight
        parameter.copy_(neutral + 0.15 * torch.randn(parameter.shape, generator=generator))
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.copy_(0.15 * torch.randn(model.final_logits_bias.shape, generator=generator))


def batch(name: str, rows: int = 3, length: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs without padding: (rows, length) ids, and 5 decoder ids per row for encoder-decoders."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(3, VOCABULARY, (rows, length), generator=generator)
    inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    if name in ENCODER_DECODERS:
        inputs["decoder_input_ids"] = torch.randint(3, VOCABULARY, (rows, 5), generator=generator)
    return inputs


def tiny_tokenizer(chat_template: bool = True, add_bos: bool = True, framed: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 320 tokens, <pad> 0, <s> 1, </s> 2, for any text.

    `add_bos`: encoding puts <s> first. `framed`: as encoders have it, <s> text </s> second </s>, with token types.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if framed:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s>:0 $A:0 </s>:0",
            pair="<s>:0 $A:0 </s>:0 $B:1 </s>:1",
            special_tokens=[("<s>", 1), ("</s>", 2)],
        )
    elif add_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
        model_max_length=64,
        **({"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]} if framed else {}),
    )
    if chat_template:
        wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def tiny_model_folder(
    folder: Path,
    architecture: str = "llama",
    chat_template: bool = True,
    seed: int = 0,
    add_bos: bool = True,
    framed: bool = False,
    **overrides: Any,
) -> Path:
    """Write `folder/<architecture>`: config, safetensors, tokenizer; 256 positions unless overridden."""
    tokenizer = tiny_tokenizer(chat_template, add_bos, framed)
    if "max_position_embeddings" in configuration(architecture).to_dict():
        overrides = {"max_position_embeddings": 256} | overrides
    # Like real checkpoints, a few more rows than tokens: some tokenizer classes add a token of their own when loaded.
    model = make(architecture, seed, vocab_size=len(tokenizer) + 8, **overrides)
    path = folder / architecture
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def edit_json(path: Path, **changes: Any) -> None:
    """Replace entries of a JSON file; None removes one."""
    content = json.loads(path.read_text())
    content = {key: value for key, value in (content | changes).items() if value is not None}
    path.write_text(json.dumps(content, indent=2))
