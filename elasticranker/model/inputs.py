"""Texts, and pairs of texts, laid out as the backbone's own tokenizer joins them: what a classifier reads."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from elasticranker.encodable import encodable
from elasticranker.model.encoder import blank_after
from elasticranker.model.pairs import Batch, round_up
from elasticranker.model.readout import Segments

Text: TypeAlias = str | tuple[str, str]


class Tokens(NamedTuple):
    """One text, or one pair of texts, as token ids and token types `[n]`, special tokens among them."""

    ids: np.ndarray
    types: np.ndarray


class InputEncoder:
    """Tokenises texts or pairs of texts for a classifier.

    Args:
        tokenizer: a Hugging Face tokenizer.
        max_length: most tokens, special ones included; of a pair the longer text is cut first.

    Example:
        >>> InputEncoder(tokenizer, max_length=128).tokens([("a man sleeps", "nobody is awake")])  # doctest: +SKIP
    """

    def __init__(self, tokenizer: Any, *, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.padding_id = tokenizer.pad_token_id or 0
        # A model whose tokenizer doesn't pass token types was trained with type 0 everywhere.
        self.has_types = "token_type_ids" in tokenizer.model_input_names

    def tokens(self, texts: Sequence[Text]) -> list[Tokens]:
        """Token ids and types of each.

        Raises:
            ValueError: one is neither a text nor a pair of texts, or they aren't all of one kind.
        """
        if not texts:
            return []
        parts = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
        for text, part in zip(texts, parts, strict=True):
            if len(part) != len(parts[0]) or len(part) not in (1, 2) or not all(isinstance(one, str) for one in part):
                raise ValueError(f"inputs must all be texts, or all be pairs of texts, but one is {reprlib.repr(text)}")
        columns = [[encodable(one) for one in column] for column in zip(*parts, strict=True)]
        read = self.tokenizer(
            *columns, truncation=True, max_length=self.max_length, return_token_type_ids=True, verbose=False
        )
        ids = [np.asarray(one, dtype=np.int32) for one in read["input_ids"]]
        types = read["token_type_ids"] if self.has_types else [np.zeros(len(one)) for one in ids]
        return [Tokens(one, np.asarray(kinds, dtype=np.int32)) for one, kinds in zip(ids, types, strict=True)]

    def batch(self, texts: Sequence[Tokens], tokens: int) -> Batch:
        """Tensors of some texts, padded to `tokens` tokens."""
        ids = np.full((len(texts), tokens), self.padding_id, dtype=np.int64)
        types = np.zeros((len(texts), tokens), dtype=np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)] = text.ids
            types[row, : len(text.ids)] = text.types
        blank = blank_after(torch.tensor([len(text.ids) for text in texts]), tokens)
        where = Segments(torch.zeros(len(texts), 0, dtype=torch.bool), ~blank, 0)  # all document, no query
        return Batch(torch.from_numpy(ids), torch.from_numpy(types), blank, where)


def bucket(text: Tokens) -> int:
    """Tokens that a text is padded to, so that its arithmetic doesn't depend on what stands beside it."""
    return round_up(len(text.ids))
