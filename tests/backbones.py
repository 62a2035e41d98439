"""Tiny real checkpoints of every supported family, randomly initialised and saved by transformers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

BERTS = ["bert", "electra", "roberta", "xlm-roberta", "distilbert", "mpnet", "albert"]  # post-norm
FAMILIES = [*BERTS, "modernbert"]
WORDS = [
    "the",
    "a",
    "of",
    "to",
    "how",
    "do",
    "i",
    "copy",
    "whole",
    "folder",
    "file",
    "river",
    "bank",
    "money",
    "flows",
    "water",
    "deep",
    "what",
    "is",
    "who",
    "was",
    "when",
    "does",
    "cat",
    "dog",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "sun",
    "moon",
    "star",
    "red",
    "green",
    "blue",
    "one",
    "two",
    "three",
    "four",
    "five",
]


def tokenizer(family: str) -> Any:
    """A word-level tokenizer that lays pairs out as the family does: RoBERTa's, or BERT's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    roberta = family == "roberta"
    cls, sep, pad, unk = ("<s>", "</s>", "<pad>", "<unk>") if roberta else ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    special = [cls, pad, sep, unk] if roberta else [pad, unk, cls, sep]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=unk))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    pair = f"{cls} $A {sep} {sep} $B {sep}" if roberta else f"{cls} $A {sep} $B:1 {sep}:1"
    made.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=pair,
        special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
    )
    inputs = ["input_ids", "attention_mask"] + (["token_type_ids"] if family in ("bert", "electra", "albert") else [])
    names = {"cls_token": cls, "sep_token": sep, "pad_token": pad, "unk_token": unk}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, model_input_names=inputs, **names)


def save_backbone(
    folder: Path, family: str = "bert", labels: int | None = 1, layers: int = 3, positions: int = 72, **options: Any
) -> str:
    """Save a tiny model: a cross-encoder with `labels` logits, or a bare encoder where `labels` is None.

    `options` are put into its configuration.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification

    torch.manual_seed(0)
    made = tokenizer("roberta" if "roberta" in family or family == "mpnet" else family)
    config = _config(family, made, layers, positions)
    for name, value in options.items():
        setattr(config, name, value)
    if labels is None:
        model = AutoModel.from_config(config)
    else:
        config.num_labels = labels
        model = AutoModelForSequenceClassification.from_config(config)
        model.config.architectures = [type(model).__name__]
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
        elif "norm" in name and family == "modernbert":  # nothing else is added to its states
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return str(folder)


def _config(family: str, made: Any, layers: int, positions: int) -> Any:
    import transformers

    sizes = {
        "vocab_size": len(made),
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": positions,
        "pad_token_id": made.pad_token_id,
        "initializer_range": 0.3,
    }
    if family == "electra":
        return transformers.ElectraConfig(**sizes, embedding_size=16)
    if family == "roberta":
        return transformers.RobertaConfig(**sizes, type_vocab_size=1)
    if family == "xlm-roberta":
        return transformers.XLMRobertaConfig(**sizes, type_vocab_size=1)
    if family == "distilbert":
        return transformers.DistilBertConfig(**sizes | {"hidden_dim": sizes["intermediate_size"]})
    if family == "mpnet":
        return transformers.MPNetConfig(**sizes)
    if family == "albert":
        return transformers.AlbertConfig(**sizes, embedding_size=16)
    if family == "modernbert":  # a window of nine tokens in every other layer
        special = {f"{name}_token_id": getattr(made, f"{name}_token_id") for name in ("cls", "sep")}
        special |= {"bos_token_id": made.cls_token_id, "eos_token_id": made.sep_token_id}
        return transformers.ModernBertConfig(**sizes, **special, local_attention=8, global_attn_every_n_layers=2)
    return transformers.BertConfig(**sizes)
