"""From texts to padded tensors, each distinct text tokenised once.

`PairEncoder` lays pairs out jointly, as cross-encoders read them: `[CLS] query [SEP] document [SEP]`. Its subclass in
`split.py` lays them out text by text.

Queries are cut to `max_query_length`, then the longer of the two texts to fit `max_length` (with usual limits the
document alone), at the end that the tokenizer names; every cut is counted by whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elasticranker.encodable import encodable

if TYPE_CHECKING:
    import torch

    from elasticranker.model.readout import Segments

BUCKET = 8  # token counts are rounded up to a multiple of this


def round_up(count: int, multiple: int = BUCKET) -> int:
    """The least multiple of `multiple` that is not below `count`."""
    return -(-count // multiple) * multiple


class Pair(NamedTuple):
    """One query and one document as token ids (without special tokens), cut to fit."""

    query: np.ndarray
    document: np.ndarray


class Bucket(NamedTuple):
    """Pairs of one bucket have tensors of one size, so that a pair's arithmetic doesn't depend on its batch mates."""

    tokens: int  # length of the padded pair
    slots: int  # leading positions that hold the whole query


class Batch(NamedTuple):
    """Tensors of some pairs, padded to `T` tokens."""

    ids: torch.Tensor  # [B, T] int64
    types: torch.Tensor  # [B, T] int64
    blank: torch.Tensor  # bool [B, T]: is this position padding?
    segments: Segments
    first: int = 0  # positions of the first text, where the two are laid out one by one; else 0

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        moved = self.segments.to(device)
        return Batch(self.ids.to(device), self.types.to(device), self.blank.to(device), moved, self.first)


@dataclass(frozen=True)
class Template:
    """The special tokens that a tokenizer puts around a pair, and the token types of its two parts."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    first_type: int
    second_type: int

    @property
    def extra(self) -> int:
        """Number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)


class PairEncoder:
    """Tokenises texts and lays pairs out as a cross-encoder of the backbone's kind expects them.

    Args:
        tokenizer: a Hugging Face tokenizer.
        max_length: most tokens of a pair, special ones included.
        max_query_length: most tokens of a query, its prompt not counted.
        prompt: what the checkpoint wants put before every query.
    """

    def __init__(self, tokenizer: Any, *, max_length: int, max_query_length: int, prompt: str = "") -> None:
        self.template = _template(tokenizer)
        self.extra = self.template.extra  # tokens beside those of the two texts
        self._set(tokenizer, max_length, max_query_length, prompt)

    def _set(self, tokenizer: Any, max_length: int, max_query_length: int, prompt: str = "") -> None:
        if max_query_length < 1 or max_length < max_query_length + self.extra:
            raise ValueError(
                f"max_length={max_length} leaves no room for a query of max_query_length={max_query_length} tokens and "
                f"{self.extra} special ones: raise max_length or lower max_query_length"
            )
        self.tokenizer = tokenizer
        self.max_length, self.max_query_length = max_length, max_query_length
        self.padding_id = tokenizer.pad_token_id or 0
        self.prompt = prompt
        self.longest_query = max_query_length + (len(self.tokens([prompt])[0]) if prompt else 0)
        self.keeps_end = tokenizer.truncation_side == "left"

    def queries(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of queries, with the prompt before each, uncut."""
        return self.tokens([self.prompt + text for text in texts])

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids (int32) of each text, without special tokens, uncut."""
        return token_ids(self.tokenizer, texts)

    def pair(self, query: np.ndarray, document: np.ndarray) -> Pair:
        """A pair cut to fit: the query to `max_query_length`, then the longer text as the tokenizer would."""
        query = self._cut(query, self.longest_query)
        room = self.max_length - self.extra
        if len(query) <= len(document):
            query = self._cut(query, max(room // 2, room - len(document)))
            return Pair(query, self._cut(document, room - len(query)))
        document = self._cut(document, max(room // 2, room - len(query)))
        return Pair(self._cut(query, room - len(document)), document)

    def shorter(self, pair: Pair, tokens: int | None) -> Pair:
        """The pair with its document cut to so many tokens; as it is where `tokens` is None."""
        return pair if tokens is None else Pair(pair.query, self._cut(pair.document, tokens))

    def _cut(self, tokens: np.ndarray, most: int) -> np.ndarray:
        return tokens[max(0, len(tokens) - most) :] if self.keeps_end else tokens[:most]

    def length(self, pair: Pair) -> int:
        """Tokens of a pair, special ones included."""
        return len(pair.query) + len(pair.document) + self.extra

    def bucket(self, pair: Pair) -> Bucket:
        """The bucket that a pair belongs to."""
        return self.cover([pair])

    def cover(self, pairs: Sequence[Pair], multiple: int = BUCKET) -> Bucket:
        """The least bucket, of sizes that are multiples of `multiple`, that has room for all of some pairs."""
        tokens = round_up(max(self.length(pair) for pair in pairs), multiple)
        slots = round_up(len(self.template.before) + max(len(pair.query) for pair in pairs), multiple)
        return Bucket(tokens, slots)

    def batch(self, pairs: Sequence[Pair], tokens: int, slots: int) -> Batch:
        """Tensors of pairs, padded to `tokens` tokens and `slots` query slots."""
        import torch

        from elasticranker.model.encoder import blank_after
        from elasticranker.model.readout import segments

        shape = self.template
        ids = np.full((len(pairs), tokens), self.padding_id, dtype=np.int64)
        types = np.zeros((len(pairs), tokens), dtype=np.int64)
        start = len(shape.before)
        query_ends = np.empty(len(pairs), dtype=np.int64)
        document_ends = np.empty(len(pairs), dtype=np.int64)
        ids[:, :start] = shape.before
        for row, (query, document) in enumerate(pairs):
            middle = start + len(query)
            second = middle + len(shape.between)
            end = second + len(document)
            ids[row, start:middle] = query
            ids[row, middle:second] = shape.between
            ids[row, second:end] = document
            ids[row, end : end + len(shape.after)] = shape.after
            types[row, :second] = shape.first_type
            types[row, second : end + len(shape.after)] = shape.second_type
            query_ends[row], document_ends[row] = middle, end
        middles, ends = torch.from_numpy(query_ends), torch.from_numpy(document_ends)
        seconds = middles + len(shape.between)
        where = segments(start, middles, seconds, ends, min(slots, tokens), tokens, len(shape.after))
        blank = blank_after(ends + len(shape.after), tokens)
        return Batch(torch.from_numpy(ids), torch.from_numpy(types), blank, where)


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids (int32) of each text, without special tokens, uncut."""
    if not texts:
        return []
    encoded = tokenizer(
        [encodable(text) for text in texts],
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        truncation=False,
        verbose=False,
    )
    return [np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"]]


def _template(tokenizer: Any) -> Template:
    """Read the special tokens off a pair of one-letter texts."""
    pair = tokenizer("a", "b", return_special_tokens_mask=True, return_token_type_ids=True)
    special, ids = pair["special_tokens_mask"], pair["input_ids"]
    # A model whose tokenizer doesn't pass token types was trained with type 0 everywhere.
    types = pair["token_type_ids"] if "token_type_ids" in tokenizer.model_input_names else [0] * len(ids)
    first = special.index(0)
    first_end = special.index(1, first)
    second = special.index(0, first_end)
    second_end = special.index(1, second) if 1 in special[second:] else len(special)
    return Template(
        tuple(ids[:first]), tuple(ids[first_end:second]), tuple(ids[second_end:]), types[first], types[second]
    )
