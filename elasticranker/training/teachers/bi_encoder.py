"""Bi-encoders as teachers: every text is embedded once, pairs then cost a dot product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elasticranker.model.checkpoint import fingerprint
from elasticranker.model.encoder import Weights, blank_after, padding_mask
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.model.saved import prefixes_of, read_settings, read_tokenizer
from elasticranker.progress import bar
from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.sources import Source, TrainingQuery
from elasticranker.training.origin import place_name

BLOCK = 8192  # texts embedded between two writes to the cache
LONGEST = 160  # tokens kept of a text


class BiEncoderTeacher:
    """Cosine of pooled states (their mean, or that of `[CLS]`), as sentence encoders are used.

    Choose it over a cross-encoder teacher where there are many candidates a query: texts are embedded once.

    Args:
        source: Hugging Face id or folder of an encoder of a supported family.
        query_prefix: put before queries; by default the saved prompt, `"query: "` for an E5, or nothing.
        document_prefix: put before documents; likewise, `"passage: "` for an E5.
        max_length: tokens kept of a text; by default 160, or the encoder's own limit where that is less.
        device: where to run.
        dtype: of weights and activations; pooling is float32.

    Raises:
        ValueError: the model isn't supported, or makes its vectors in another way.
    """

    def __init__(
        self,
        source: str,
        *,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        max_length: int | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.name = place_name(source)
        self.device, self.dtype = torch.device(device), dtype
        encoder, _ = from_hugging_face(source, keep_head=False)
        self.encoder = encoder.to(self.device)
        self.tokenizer = read_tokenizer(source, encoder.shape.vocabulary)
        saved = read_settings(source, self.tokenizer, kind="SentenceTransformer")
        if saved.pooling not in ("mean", "cls"):
            raise ValueError(f"{source} pools by {saved.pooling}: a teacher's vectors are a mean, or those of [CLS]")
        self.pooling = saved.pooling
        of_query, of_document = prefixes_of(source, saved)
        self.query_prefix = of_query if query_prefix is None else query_prefix
        self.document_prefix = of_document if document_prefix is None else document_prefix
        longest = encoder.shape.positions - encoder.shape.position_offset
        if max_length is not None and max_length > longest:
            raise ValueError(f"max_length={max_length}: the teacher has positions for {longest} tokens")
        self.max_length = max_length or min(LONGEST, saved.max_length or LONGEST, longest)
        how = f"{self.query_prefix!r} {self.document_prefix!r} {self.max_length} {dtype}"
        how += " cls" * (self.pooling == "cls")
        self.identity = f"{fingerprint(source)} {how}"

    def read(self, source: Source, queries: Sequence[TrainingQuery], cache: ArrayCache) -> ReadVectors:
        """Embed a source's documents and some queries; see `elasticranker.training.teachers.teacher.Teacher`."""

        def vectors(kind: str, embed: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]) -> np.ndarray:
            parts = [texts[start : start + BLOCK] for start in range(0, len(texts), BLOCK)]
            arrays = [cache.get([self.identity, kind, *part], partial(embed, part)) for part in parts]
            return np.concatenate(arrays).astype(np.float32)

        asked = [query.text for query in queries]
        return ReadVectors(vectors("query", self.queries, asked), vectors("document", self.documents, source.documents))

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors `[n, H]` (float16) of queries."""
        return self.embed([self.query_prefix + text for text in texts])

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors `[n, H]` (float16) of documents."""
        return self.embed([self.document_prefix + text for text in texts])

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], *, batch_tokens: int = 4096) -> np.ndarray:
        """Unit vectors `[n, H]` (float16) of texts, longest first in batches of `batch_tokens` tokens."""
        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index]))
        vectors = np.zeros((len(texts), self.encoder.shape.hidden), dtype=np.float16)
        weights = self.encoder.weights(1.0, self.dtype)
        with bar(name="teacher", total=len(order), unit="texts") as moving:
            start = 0
            while start < len(order):
                longest = -(-len(encoded[order[start]]) // 8) * 8
                rows = order[start : start + max(1, batch_tokens // longest)]
                vectors[rows] = self._pool([encoded[row] for row in rows], longest, weights).cpu().numpy()
                start += len(rows)
                moving.update(len(rows))
        return vectors

    def _pool(self, rows: list[list[int]], longest: int, weights: Sequence[Weights]) -> Tensor:
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id or 0)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
        ids = ids.to(self.device)
        blank = blank_after(lengths, longest)
        hidden = self.encoder.embeddings(ids, torch.zeros_like(ids), self.dtype)
        hidden = self.encoder.states(self.encoder.run_layers(hidden, weights, padding_mask(blank, self.dtype)))
        if self.pooling == "cls":
            return F.normalize(hidden[:, 0].float(), dim=-1).half()
        return F.normalize((hidden.float() * ~blank[..., None]).sum(1), dim=-1).half()


class ReadVectors:
    """`Reading` of a bi-encoder: unit vectors `[n, H]` of queries and `[d, H]` of documents."""

    def __init__(self, queries: np.ndarray, documents: np.ndarray) -> None:
        self.queries, self.documents = queries, documents

    def nearest(self, rows: slice, count: int) -> np.ndarray:
        """The documents of highest cosine."""
        count = min(count, len(self.documents))
        if not count:
            return np.empty((len(self.queries[rows]), 0), dtype=np.int64)
        similarity = self.queries[rows] @ self.documents.T
        return np.argpartition(-similarity, count - 1, axis=1)[:, :count]

    def scores(self, rows: slice, documents: np.ndarray) -> np.ndarray:
        """Cosines."""
        return np.einsum("rh,rch->rc", self.queries[rows], self.documents[documents])

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """What it made of the texts."""
        return self.queries.astype(np.float16), self.documents.astype(np.float16)
