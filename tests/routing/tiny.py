"""Tiny random Hugging Face models that generate, with the word-level tokenizer of tests/backbones.py."""

from __future__ import annotations

from typing import Any

import torch

from tests.backbones import tokenizer

# Ends of outputs for models that never learned to end: a few tokens, so that lengths differ from input to input.
ENDS = list(range(16, 28))
TEXTS = [
    "the quick brown fox",
    "what is a river bank",
    "one two three",
    "moon",
    "how do i copy a whole folder to the sun",
]


def t5(seed: int = 4) -> tuple[Any, Any]:
    """A T5 of two layers and its tokenizer."""
    from transformers import T5Config, T5ForConditionalGeneration

    made = tokenizer("bert")
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(made),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        initializer_factor=3.0,
        pad_token_id=made.pad_token_id,
        eos_token_id=made.sep_token_id,
        decoder_start_token_id=made.pad_token_id,
    )
    return T5ForConditionalGeneration(config).double(), made  # exact: batch mates change no digit that a test looks at


def gpt2(seed: int = 0) -> tuple[Any, Any]:
    """A GPT-2 of two layers and its tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    made = tokenizer("bert")
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(made),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        initializer_range=0.5,
        bos_token_id=made.cls_token_id,
        eos_token_id=made.sep_token_id,
    )
    return GPT2LMHeadModel(config).double(), made
