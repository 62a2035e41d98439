"""Tiny real checkpoints of every supported family, randomly initialised and saved by transformers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

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
    """A word-level tokenizer that lays pairs out as the family does."""
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
    inputs = ["input_ids", "attention_mask"] + ([] if roberta else ["token_type_ids"])
    names = {"cls_token": cls, "sep_token": sep, "pad_token": pad, "unk_token": unk}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, model_input_names=inputs, **names)


def save_backbone(
    folder: Path, family: str = "bert", labels: int | None = 1, layers: int = 3, positions: int = 72
) -> str:
    """Save a tiny model: a cross-encoder with `labels` logits, or a bare encoder where `labels` is None."""
    from transformers import (
        AutoModel,
        AutoModelForSequenceClassification,
        BertConfig,
        ElectraConfig,
        RobertaConfig,
        XLMRobertaConfig,
    )

    torch.manual_seed(0)
    made = tokenizer("roberta" if "roberta" in family else family)
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
    config: Any
    if family == "electra":
        config = ElectraConfig(**sizes, embedding_size=16)
    elif family == "roberta":
        config = RobertaConfig(**sizes, type_vocab_size=1)
    elif family == "xlm-roberta":
        config = XLMRobertaConfig(**sizes, type_vocab_size=1)
    else:
        config = BertConfig(**sizes)
    if labels is None:
        model = AutoModel.from_config(config)
    else:
        config.num_labels = labels
        model = AutoModelForSequenceClassification.from_config(config)
        model.config.architectures = [type(model).__name__]
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return str(folder)
