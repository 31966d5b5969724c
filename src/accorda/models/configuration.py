"""What a config.json says a model is: its configuration object, its stacks, and the heads that it can have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

from accorda.errors import Refusal
from accorda.models.folder import model_folder, one_line, read_config
from accorda.models.labels import Labels, brings_head

Head = Literal["language", "classification", "reward"]
HEADS = {
    "language": AutoModelForCausalLM,
    "classification": AutoModelForSequenceClassification,
    "reward": AutoModelForSequenceClassification,
}


def head_for(path: str | Path) -> Head:
    """The head to look at a bare checkpoint with: "classification" for an encoder, which writes no text."""
    config = configuration(read_config(model_folder(path, weights=False)), str(path))
    encoder = not config.is_encoder_decoder and not is_decoder(config)
    return "classification" if encoder and type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING else "language"


def is_decoder(config: PretrainedConfig) -> bool:
    """Whether a configuration is of a causal language model with one stack."""
    causal, masked = (type(config) in mapping for mapping in (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING))
    return not config.is_encoder_decoder and causal and (not masked or getattr(config, "is_decoder", False))


def is_encoder_decoder(config: PretrainedConfig) -> bool:
    """Whether a configuration is of a language model whose encoder reads and whose decoder writes (T5, BART)."""
    return config.is_encoder_decoder and type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING


def class_for(head: Head, config: PretrainedConfig) -> Any:
    """The Auto class of transformers for a head of such a configuration."""
    return AutoModelForSeq2SeqLM if head == "language" and is_encoder_decoder(config) else HEADS[head]


def content_of(config: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """The content of `model.config`: a mapping as it is, or that of a file or folder."""
    if isinstance(config, Mapping):
        return dict(config)
    return read_config(Path(config).expanduser())


def configuration(content: dict[str, Any], where: str) -> PretrainedConfig:
    """The configuration object of a config's content; Refusal for unknown types and values.

    Without what it says of a number format: that is ours to read, and transformers would ask for packages to do so.
    """
    content = {key: value for key, value in content.items() if key != "quantization_config"}
    model_type = content.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise Refusal(f"{where}: model_type {model_type!r} is unknown to transformers {transformers.__version__}")
    try:
        return AutoConfig.for_model(**content)
    except Exception as error:  # each configuration class checks its values in its own way
        raise Refusal(f"{where}: {one_line(error)}") from error


def folder_configuration(folder: Path, code: bool) -> PretrainedConfig:
    """The configuration of a model folder, by code of its own only where that is trusted."""
    content = read_config(folder)
    if "auto_map" not in content or content["model_type"] in CONFIG_MAPPING:
        return configuration(content, str(folder / "config.json"))
    if not code:
        raise Refusal(f"model: {folder} needs code of its own; set model.trust_remote_code if you trust it")
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=True)


def check_kind(config: PretrainedConfig, head: Head, labels: Labels | None) -> None:
    """Refuse a model that has no head of the kind asked for; a classification head gets the labels."""
    if type(config).__module__.startswith("transformers_modules"):
        return  # code of its own: its class says what it is
    if head == "language" and not (is_decoder(config) or is_encoder_decoder(config)):
        kind = "an encoder-decoder without a language head" if config.is_encoder_decoder else "an encoder"
        raise Refusal(f"model: {config.model_type} is {kind}; this needs a decoder or an encoder-decoder, which write")
    if head != "language" and type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise Refusal(f"model: transformers has no {head} head for {config.model_type}")
    if head == "reward":
        config.num_labels = 1
    elif labels is not None:
        if brings_head(config) and Labels.of(config) != labels:
            raise Refusal(
                f"model: its classification head tells apart {Labels.of(config).told()}, asked for is "
                f"{labels.told()}; name the model it was trained from"
            )
        labels.put(config)
