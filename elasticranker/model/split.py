"""Pairs laid out text by text: `[CLS] query [SEP] .. | [CLS] document [SEP] ..`, each with its prefix and its padding.

Each of the two texts is what a bi-encoder would read, so that an encoder that keeps them apart (`Shape.split`) is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from elasticranker.model.pairs import BUCKET, Batch, Bucket, Pair, PairEncoder, round_up


class SplitPairEncoder(PairEncoder):
    """Tokenises texts and lays pairs out text by text. Choose it for checkpoints in split layout, and for no others.

    Args:
        tokenizer: a Hugging Face tokenizer.
        max_length: most tokens of a pair: of both texts, their prefixes and special tokens.
        max_query_length: most tokens of a query, without prefix and special tokens.
        prefixes: put before queries and documents, such as E5's `("query: ", "passage: ")`.
    """

    def __init__(self, tokenizer: Any, *, max_length: int, max_query_length: int, prefixes: tuple[str, str]) -> None:
        before, after = around(tokenizer)
        self.before = [before + prefix_ids(tokenizer, prefix) for prefix in prefixes]
        self.after = after
        self.extra = sum(map(len, self.before)) + 2 * len(after)
        self._set(tokenizer, max_length, max_query_length)

    def cover(self, pairs: Sequence[Pair], multiple: int = BUCKET) -> Bucket:
        """The least bucket, of texts whose sizes are multiples of `multiple`, that has room for all of some pairs."""
        slots = round_up(self._length(0, max(len(pair.query) for pair in pairs)), multiple)
        return Bucket(slots + round_up(self._length(1, max(len(pair.document) for pair in pairs)), multiple), slots)

    def batch(self, pairs: Sequence[Pair], tokens: int, slots: int) -> Batch:
        """Tensors of pairs: queries padded to `slots` tokens, documents to the rest of `tokens`."""
        import torch

        from elasticranker.model.readout import Segments

        ids = np.full((len(pairs), tokens), self.padding_id, dtype=np.int64)
        words = np.zeros((len(pairs), tokens), dtype=bool)  # neither special tokens nor prefixes
        texts = np.zeros((len(pairs), 2, tokens), dtype=bool)
        for row, pair in enumerate(pairs):
            for which, start in enumerate((0, slots)):
                first = start + len(self.before[which])
                last = first + len(pair[which])
                end = last + len(self.after)
                ids[row, start:first], ids[row, first:last], ids[row, last:end] = (
                    self.before[which],
                    pair[which],
                    self.after,
                )
                words[row, first:last] = True
                texts[row, which, start:end] = True
        counted = torch.from_numpy(words)
        document = counted.clone()
        document[:, :slots] = False
        covered = torch.from_numpy(texts)
        where = Segments(counted[:, :slots], document, slots, covered)
        types = torch.zeros(len(pairs), tokens, dtype=torch.long)
        return Batch(torch.from_numpy(ids), types, ~covered.any(1), where, slots)

    def alone(self, texts: Sequence[np.ndarray], which: int) -> tuple[Any, Any]:
        """Token ids `[B, T]`, and where no padding is, of queries (`which` 0) or documents (1) that are read alone."""
        import torch

        tokens = round_up(self._length(which, max(map(len, texts))))
        ids = np.full((len(texts), tokens), self.padding_id, dtype=np.int64)
        present = np.zeros((len(texts), tokens), dtype=bool)
        for row, words in enumerate(texts):
            whole = [*self.before[which], *words, *self.after]
            ids[row, : len(whole)] = whole
            present[row, : len(whole)] = True
        return torch.from_numpy(ids), torch.from_numpy(present)

    def _length(self, which: int, words: int) -> int:
        return len(self.before[which]) + words + len(self.after)


def around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after one text."""
    ids = tokenizer("a", return_special_tokens_mask=True)
    special = ids["special_tokens_mask"]
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return ids["input_ids"][:first], ids["input_ids"][last:]


def prefix_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of what is put before a text."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text.strip() else []
