"""The engine: many queries' plans at once, over batches of equal pairs.

Queries of a chunk advance together: each one's `walk` says what it wants scored, pairs of one bucket and one
sub-network share batches whichever query they belong to, and the scores go back. Hidden states that a later stage may
go on from are kept until the chunk is done.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elasticranker.cost import CostModel
from elasticranker.model import flops  # noqa: F401 (registers a formula)
from elasticranker.model.encoder import Encoder, LayerWeights, padding_mask
from elasticranker.pairs import Bucket, Pair, PairEncoder
from elasticranker.plan import Candidates, Floats, Plan, Ranking, SubNet, Work, walk

Clock = Callable[[], float]


@dataclass
class Query:
    """One query to rerank.

    Attributes:
        pairs: its candidates in incoming order; a pair that comes twice is one object twice.
        prior: `[n]` their incoming scores, or None.
        plan: how to spend.
        budget: FLOPs that must not be exceeded.
        deadline: on the engine's clock; None for none.
    """

    pairs: list[Pair]
    prior: Floats | None
    plan: Plan
    budget: int
    deadline: float | None = None


class _State(NamedTuple):
    """Hidden states of one pair: a row of a batch that was run."""

    batch: Tensor  # [B, T, H]
    row: int
    subnet: SubNet


@dataclass
class _Running:
    """A query under way: its walk, the work it asked for and the states that it may go on from."""

    query: Query
    buckets: list[Bucket]
    walk: Generator[Work, Floats, Ranking]
    work: Work | None = None
    scores: Floats = field(default_factory=lambda: np.empty(0))
    states: dict[int, _State] = field(default_factory=dict)
    seen: dict[tuple[int, SubNet], float] = field(default_factory=dict)  # by identity of the pair
    ranking: Ranking | None = None

    def send(self, scores: Floats | None) -> None:
        """Let the walk go on to its next work, or to its ranking."""
        try:
            self.work = next(self.walk) if scores is None else self.walk.send(scores)
            self.scores = np.full(len(self.work.candidates), np.nan)
        except StopIteration as stop:
            self.work, self.ranking, self.states = None, stop.value, {}


class _Item(NamedTuple):
    """One pair to score: whose, which candidate, and where its score belongs."""

    running: _Running
    candidate: int
    place: int


class Engine:
    """Scores pairs with sub-networks of one encoder.

    Args:
        encoder: the trained encoder (float32); narrower and rounded copies are cut from it on demand, once each.
        pairs: lays out pairs.
        cost: prices, the same that plans are made with.
        dtype: of weights and activations.
        device: where to run.
        batch_size: padded tokens of a batch.
        clock: seconds, for deadlines.
    """

    def __init__(
        self,
        encoder: Encoder,
        pairs: PairEncoder,
        cost: CostModel,
        *,
        dtype: torch.dtype,
        device: torch.device,
        batch_size: int,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.encoder, self.pairs, self.cost = encoder, pairs, cost
        self.dtype, self.device, self.batch_size, self.clock = dtype, device, batch_size, clock
        self.full = SubNet(encoder.shape.layers)
        self._weights: dict[float, list[LayerWeights]] = {}

    def costs(self, pairs: Sequence[Pair]) -> Candidates:
        """What a plan needs to know of a query's candidates (without their prior)."""
        buckets = [self.pairs.bucket(pair) for pair in pairs]
        tokens = np.asarray([bucket.tokens for bucket in buckets], dtype=np.int64)
        return Candidates(tokens, buckets[0].slots if buckets else 0)

    def full_cost(self, pairs: Sequence[Pair]) -> int:
        """FLOPs of the whole model over a query's candidates."""
        return int(self.costs(pairs).costs(self.cost, self.full).sum())

    @torch.inference_mode()
    def rank(self, queries: Sequence[Query], progress: Callable[[int], object] | None = None) -> list[Ranking]:
        """Carry out the plans of some queries together.

        Args:
            queries: with their pairs, plans and budgets.
            progress: called with the number of pairs of each batch that was scored.

        Returns:
            A ranking a query, in the order given.
        """
        running = [self._start(query) for query in queries]
        while waiting := [item for item in running if item.work is not None]:
            for subnet, bucket, items in self._batches(waiting):
                self._run(subnet, bucket, items)
                if progress is not None:
                    progress(len(items))
            for item in waiting:
                item.send(item.scores)
        return [item.ranking for item in running if item.ranking is not None]

    def _start(self, query: Query) -> _Running:
        buckets = [self.pairs.bucket(pair) for pair in query.pairs]
        tokens = np.asarray([bucket.tokens for bucket in buckets], dtype=np.int64)
        candidates = Candidates(tokens, buckets[0].slots if buckets else 0, query.prior)
        running = _Running(query, buckets, walk(query.plan, self.full, candidates, self.cost, query.budget))
        running.send(None)
        return running

    def _batches(self, waiting: list[_Running]) -> Generator[tuple[SubNet, Bucket, list[_Item]], None, None]:
        """Work of all queries, grouped by sub-network, states at hand and bucket, in batches of `batch_size` tokens."""
        groups: dict[tuple[SubNet, SubNet | None, Bucket], list[_Item]] = defaultdict(list)
        for running in waiting:
            work = running.work
            if work is None:
                continue
            for place, candidate in enumerate(work.candidates.tolist()):
                state = running.states.get(candidate)
                since = state.subnet if state is not None and work.subnet.continues(state.subnet) else None
                groups[work.subnet, since, running.buckets[candidate]].append(_Item(running, candidate, place))
        for (subnet, _, bucket), items in groups.items():
            size = max(1, self.batch_size // bucket.tokens)
            for start in range(0, len(items), size):
                now = self.clock()
                part = [
                    item
                    for item in items[start : start + size]
                    if item.running.query.deadline is None or now < item.running.query.deadline
                ]
                if part:
                    yield subnet, bucket, part

    def _run(self, subnet: SubNet, bucket: Bucket, items: list[_Item]) -> None:
        """Score one batch and hand out its scores and, where they may be used again, its hidden states."""
        pairs = [item.running.query.pairs[item.candidate] for item in items]
        batch = self.pairs.batch(pairs, bucket.tokens, bucket.slots).to(self.device)
        state = items[0].running.states.get(items[0].candidate)
        if state is not None and subnet.continues(state.subnet):
            hidden, done = self._gather(items), state.subnet.depth
        else:
            hidden, done = self.encoder.embeddings(batch.ids, batch.types, self.dtype), 0
        padding = padding_mask(batch.lengths, bucket.tokens, self.dtype)
        hidden = self.encoder.run_layers(hidden, self.weights(subnet.width)[done : subnet.depth], padding)
        scores = self.encoder.read(hidden, subnet.depth, batch.segments).double().cpu().numpy()
        for row, item in enumerate(items):
            # A row's last bits depend on its place in a batch; the same pair twice must tie all the same.
            item.running.scores[item.place] = item.running.seen.setdefault((id(pairs[row]), subnet), float(scores[row]))
            if item.running.work is not None and item.running.work.keep:
                item.running.states[item.candidate] = _State(hidden, row, subnet)
            else:
                item.running.states.pop(item.candidate, None)

    def _gather(self, items: list[_Item]) -> Tensor:
        """The kept hidden states `[B, T, H]` of some pairs."""
        states = [item.running.states[item.candidate] for item in items]
        first = states[0].batch
        if all(state.batch is first for state in states):
            return first[torch.tensor([state.row for state in states], device=first.device)]
        return torch.stack([state.batch[state.row] for state in states])

    @torch.inference_mode()
    def every_exit(self, pairs: Sequence[Pair], width: float) -> dict[int, Floats]:
        """Scores `[n]` of pairs at every exit of one width: one pass gives all depths. For tables, not for ranking."""
        scores = {depth: np.empty(len(pairs)) for depth in self.encoder.depths}
        groups: dict[Bucket, list[int]] = defaultdict(list)
        for index, pair in enumerate(pairs):
            groups[self.pairs.bucket(pair)].append(index)
        weights = self.weights(width)
        for bucket, members in groups.items():
            size = max(1, self.batch_size // bucket.tokens)
            for rows in (members[start : start + size] for start in range(0, len(members), size)):
                batch = self.pairs.batch([pairs[row] for row in rows], *bucket).to(self.device)
                hidden = self.encoder.embeddings(batch.ids, batch.types, self.dtype)
                padding, done = padding_mask(batch.lengths, bucket.tokens, self.dtype), 0
                for depth in self.encoder.depths:
                    hidden = self.encoder.run_layers(hidden, weights[done:depth], padding)
                    done = depth
                    scores[depth][rows] = self.encoder.read(hidden, depth, batch.segments).double().cpu().numpy()
        return scores

    def weights(self, width: float) -> list[LayerWeights]:
        """Every layer at one width and this engine's dtype, as contiguous tensors made once."""
        if width not in self._weights:
            with torch.inference_mode():
                cut = self.encoder.weights(width, self.dtype)
                self._weights[width] = [LayerWeights(*(tensor.contiguous() for tensor in layer)) for layer in cut]
        return self._weights[width]
