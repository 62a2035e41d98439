"""An elastic classifier: every sub-network's logits for texts or pairs of texts, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from elasticranker.model import flops  # noqa: F401 (registers a formula)
from elasticranker.model.checkpoint import Checkpoint, load
from elasticranker.model.encoder import Group, Weights, padding_mask
from elasticranker.model.inputs import InputEncoder, Text, Tokens, bucket
from elasticranker.model.loaded import choose_device, choose_dtype
from elasticranker.model.products import choose
from elasticranker.planning.subnet import SubNet

BATCH = 4096  # padded tokens

Floats = npt.NDArray[np.float32]


class ElasticClassifier:
    """Reads logits off the exits of a checkpoint whose readouts are of the kind `mean`.

    A text's logits depend on the text alone: texts share a batch only beside others of their own padded length.

    Args:
        checkpoint: a checkpoint or its folder, as a `TaskTrainer` makes it.
        dtype: `auto` (bfloat16 where the processor multiplies in it), `float32` or `bfloat16`.
        device: torch device; by default a GPU where there is one.
        batch_size: padded tokens that run together.

    Raises:
        ValueError: the checkpoint is a reranker.

    Example:
        >>> ElasticClassifier("run/checkpoint").logits(["a charming journey"], SubNet(3)).shape  # doctest: +SKIP
        (1, 2)
    """

    def __init__(
        self,
        checkpoint: Checkpoint | str | Path,
        *,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int = BATCH,
    ) -> None:
        loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load(checkpoint)
        if not loaded.classifies:
            raise ValueError(f"{checkpoint} is a reranker: give a classifier, as TaskTrainer makes it")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1 token")
        self.checkpoint, self.batch_size = loaded, batch_size
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.encoder = loaded.encoder.to(self.device).eval()
        self.texts = InputEncoder(loaded.tokenizer, max_length=loaded.longest)
        self.labels = int(self.encoder.exits[str(self.encoder.depths[-1])].head.shape[0])
        self._products = choose(self.encoder.shape.activation, self.dtype, self.device, most=batch_size)
        self._weights: dict[float, Sequence[Weights]] = {}

    @property
    def full(self) -> SubNet:
        """The whole model."""
        return SubNet(self.encoder.shape.layers)

    def logits(self, texts: Sequence[Text], subnet: SubNet) -> Floats:
        """Logits `[n, labels]` of one sub-network.

        Raises:
            ValueError: there is no such exit or width, or inputs are no texts.
        """
        self.check(subnet)
        return self._read(texts, (subnet.depth,), subnet.width)[subnet.depth]

    def every(self, texts: Sequence[Text], width: float = 1.0) -> dict[int, Floats]:
        """Logits `[n, labels]` by depth, of all exits at one width, in one pass."""
        self.check(SubNet(self.encoder.depths[-1], width))
        return self._read(texts, self.encoder.depths, width)

    def flops(self, texts: Sequence[Text], subnet: SubNet) -> list[int]:
        """Floating point operations of each text's logits: what PyTorch's counter sees."""
        self.check(subnet)
        cost = self.checkpoint.cost
        return [cost.pair(bucket(text), 0, subnet.depth, subnet.width) for text in self.texts.tokens(texts)]

    def check(self, subnet: SubNet) -> None:
        """Raise a ValueError where it has no such sub-network."""
        if subnet.depth not in self.encoder.depths:
            raise ValueError(f"depth={subnet.depth}: the classifier has exits after layers {self.encoder.depths}")
        if subnet.width not in self.checkpoint.widths:
            raise ValueError(f"width={subnet.width}: the classifier was trained at {self.checkpoint.widths}")
        if subnet.tokens is not None:
            raise ValueError(f"tokens={subnet.tokens}: a classifier reads all of a text; leave tokens out")

    @torch.inference_mode()
    def _read(self, texts: Sequence[Text], depths: Sequence[int], width: float) -> dict[int, Floats]:
        tokens = self.texts.tokens(texts)
        found = {depth: np.empty((len(tokens), self.labels), np.float32) for depth in depths}
        weights = self._cut(width)
        for places in self._batches(tokens):
            by_length = [list(group) for _, group in groupby(places, key=lambda place: bucket(tokens[place]))]
            batches = [
                self.texts.batch([tokens[place] for place in group], bucket(tokens[group[0]])).to(self.device)
                for group in by_length
            ]
            groups = [
                Group(len(batch.ids), batch.ids.shape[1], padding_mask(batch.blank, self.dtype)) for batch in batches
            ]
            states = [self.encoder.embeddings(batch.ids, batch.types, self.dtype).flatten(0, 1) for batch in batches]
            hidden, done = torch.cat(states), 0
            for depth in depths:
                hidden = self.encoder.run_groups(hidden, weights[done:depth], groups, self._products)
                done, start = depth, 0
                for rows, batch in zip(by_length, batches, strict=True):
                    part = hidden[start : start + batch.ids.numel()].view(*batch.ids.shape, -1)
                    found[depth][rows] = self.encoder.read(part, depth, batch.segments).float().cpu().numpy()
                    start += batch.ids.numel()
        return found

    def _batches(self, tokens: Sequence[Tokens]) -> Iterator[list[int]]:
        """Places of texts, shortest first, cut where their padded tokens exceed a batch."""
        batch: list[int] = []
        held = 0
        for place in sorted(range(len(tokens)), key=lambda place: bucket(tokens[place])):
            size = bucket(tokens[place])
            if batch and held + size > self.batch_size:
                yield batch
                batch, held = [], 0
            batch.append(place)
            held += size
        if batch:
            yield batch

    def _cut(self, width: float) -> Sequence[Weights]:
        if width not in self._weights:
            self._weights[width] = self.encoder.freeze(width, self.dtype)
        return self._weights[width]
