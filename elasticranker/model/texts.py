"""From texts to padded tensors, each text alone as a bi-encoder reads it: `[CLS] prefix text [SEP]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elasticranker.model.pairs import round_up, token_ids
from elasticranker.model.split import around, prefix_ids


class Tokens(NamedTuple):
    """Token ids of texts, special ones and prefixes included, cut to fit; and how many were cut."""

    rows: list[np.ndarray]
    cut: int


class TextEncoder:
    """Tokenises texts of one kind, queries or documents.

    Args:
        tokenizer: a Hugging Face tokenizer.
        longest: most tokens in all.
        most: most tokens of the text itself, without prefix, prompt and special ones; None leaves it to `longest`.
        prefix: put before every text, as tokens of its own: as pairs in split layout are laid out.
        prompt: put before every text as text, so that tokens may span both: as sentence encoders are used.

    Raises:
        ValueError: there is no room for any text.
    """

    def __init__(
        self, tokenizer: Any, *, longest: int, most: int | None = None, prefix: str = "", prompt: str = ""
    ) -> None:
        before, self.after = around(tokenizer)
        self.before = before + prefix_ids(tokenizer, prefix)
        self.tokenizer, self.prompt = tokenizer, prompt
        around_it = len(self.before) + len(self.after)
        asked = len(token_ids(tokenizer, [prompt])[0]) if prompt else 0
        if longest <= around_it + asked:
            raise ValueError(
                f"{longest} tokens leave no room for a text: prefix and special ones are {around_it + asked}"
            )
        self.longest = longest
        self.limit = longest - around_it if most is None else min(longest - around_it, most + asked)
        self.padding_id = tokenizer.pad_token_id or 0
        self.keeps_end = tokenizer.truncation_side == "left"

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Token ids of texts, each cut to fit."""
        rows, cut = [], 0
        for own in token_ids(self.tokenizer, [self.prompt + text for text in texts]):
            beyond = max(0, len(own) - self.limit)
            kept = own[beyond:] if self.keeps_end else own[: len(own) - beyond]
            rows.append(np.concatenate([self.before, kept, self.after]).astype(np.int32))
            cut += beyond > 0
        return Tokens(rows, cut)

    def batch(self, rows: Sequence[np.ndarray], tokens: int) -> tuple[Tensor, Tensor]:
        """Ids `[B, T]` padded to `tokens`, and lengths `[B]`."""
        ids = np.full((len(rows), tokens), self.padding_id, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        return torch.from_numpy(ids), torch.tensor([len(row) for row in rows])


def bucket(row: np.ndarray) -> int:
    """Tokens of a text, rounded up."""
    return round_up(len(row))
