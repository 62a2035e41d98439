"""What a T5's answer costs, as a formula: counting every sentence would take longer than answering it."""

from __future__ import annotations

from typing import Any


def t5_flops(config: Any, *, read: int, written: int) -> int:
    """FLOPs of greedy generation with cached keys and values, equal to what PyTorch's counter sees.

    Args:
        config: A Hugging Face `T5Config` without gated feed-forward parts.
        read: Tokens of the source, its end included.
        written: Tokens of the answer, its end included.
    """
    n, width, inner = read, config.d_model, config.num_heads * config.d_kv
    project, feed_forward = 2 * width * inner, 4 * width * config.d_ff  # of one token
    encoder = config.num_layers * (n * (4 * project + feed_forward) + 4 * n * n * inner)
    cached = config.num_decoder_layers * 2 * n * project  # keys and values of the source, once
    attended = 4 * inner * (n * written + written * (written + 1) // 2)  # the source, and what is written so far
    decoder = config.num_decoder_layers * (written * (6 * project + feed_forward) + attended)
    return encoder + cached + decoder + written * 2 * width * config.vocab_size
