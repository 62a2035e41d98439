"""The engine: many queries' plans at once, over shared batches.

Queries of a chunk advance together: each one's `walk` says what it wants scored, pairs of one sub-network share batches
whichever query they belong to, and the scores go back. Inside a batch pairs of one bucket form a group: attention runs
group by group without padding beyond the bucket, everything else over all tokens at once. Hidden states that a later
stage may go on from are kept until the query is done.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elasticranker.model import flops  # noqa: F401 (registers a formula)
from elasticranker.model.encoder import Encoder, Group, Weights, padding_mask
from elasticranker.model.pairs import Batch, Bucket, Pair, PairEncoder
from elasticranker.model.products import choose
from elasticranker.planning.calibration import Calibration
from elasticranker.planning.cost import CostModel
from elasticranker.planning.plan import Candidates, Floats, Plan, Ranking, SubNet, Work, walk

Clock = Callable[[], float]
Progress = Callable[[float], object]


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
    """Hidden states of one pair: some rows of a batch that was run. Of its document alone where its texts are apart."""

    batch: Tensor  # [N, H]
    start: int
    tokens: int
    subnet: SubNet

    @property
    def hidden(self) -> Tensor:
        """`[T, H]`."""
        return self.batch[self.start : self.start + self.tokens]


@dataclass
class _Running:
    """A query under way: its walk, the work it asked for and the states that it may go on from."""

    query: Query
    buckets: dict[int | None, list[Bucket]]  # of whole pairs, and of those whose document is cut to so many tokens
    texts: list[int]  # number of each candidate's query text
    walk: Generator[Work, Floats, Ranking]
    work: Work | None = None
    scores: Floats = field(default_factory=lambda: np.empty(0))
    states: dict[int, _State] = field(default_factory=dict)
    asked: dict[tuple[int, SubNet], Tensor] = field(default_factory=dict)  # states [Q, H] of query texts alone
    seen: dict[tuple[int, SubNet], float] = field(default_factory=dict)  # by identity of the pair
    ranking: Ranking | None = None

    def send(self, scores: Floats | None) -> None:
        """Let the walk go on to its next work, or to its ranking."""
        try:
            self.work = next(self.walk) if scores is None else self.walk.send(scores)
            self.scores = np.full(len(self.work.candidates), np.nan)
        except StopIteration as stop:
            self.work, self.ranking, self.states, self.asked = None, stop.value, {}, {}


class _Item(NamedTuple):
    """One pair to score: whose, which candidate, where its score belongs, and its bucket."""

    running: _Running
    candidate: int
    place: int
    bucket: Bucket


class _Layout(NamedTuple):
    """Pairs of one batch, a group of tensors a bucket; and their documents alone, where texts are read apart."""

    batches: list[Batch]
    groups: list[Group]
    documents: list[Group]


def _candidates(
    buckets: Mapping[int | None, Sequence[Bucket]], texts: Sequence[int], prior: Floats | None = None
) -> Candidates:
    sizes = {cut: np.asarray(those, dtype=np.int64).reshape(-1, 2) for cut, those in buckets.items()}
    short = {cut: both[:, 0] for cut, both in sizes.items() if cut is not None}
    return Candidates(sizes[None][:, 0], sizes[None][:, 1], prior, np.asarray(texts, dtype=np.int64), short)


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
        weights: layers that exist already, by width (see `Engine.weights`): a process that shares another's.
        calibration: what the sub-networks' scores mean; by default they are taken as they come.
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
        weights: Mapping[float, Sequence[Weights]] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.encoder, self.pairs, self.cost = encoder, pairs, cost
        self.dtype, self.device, self.batch_size, self.clock = dtype, device, batch_size, clock
        self.full = SubNet(encoder.shape.layers)
        self._products = choose(encoder.shape.activation, dtype, device, most=batch_size)
        self._weights = dict(weights or {})
        self.calibration = calibration or Calibration()

    def costs(self, pairs: Sequence[Pair], cuts: Sequence[int] = ()) -> Candidates:
        """What a plan needs to know of a query's candidates (without their prior), also with documents cut so."""
        return _candidates(self._buckets(pairs, cuts), self._texts(pairs))

    def _buckets(self, pairs: Sequence[Pair], cuts: Sequence[int]) -> dict[int | None, list[Bucket]]:
        return {cut: [self.pairs.bucket(self.pairs.shorter(pair, cut)) for pair in pairs] for cut in (None, *cuts)}

    def _texts(self, pairs: Sequence[Pair]) -> list[int]:
        """A number, from 0, for the query text of each pair; all 0 where texts are never read apart."""
        if not self.cost.apart:
            return [0] * len(pairs)
        seen: dict[bytes, int] = {}
        return [seen.setdefault(pair.query.tobytes(), len(seen)) for pair in pairs]

    def full_cost(self, pairs: Sequence[Pair]) -> int:
        """FLOPs of the whole model over a query's candidates."""
        return self.costs(pairs).whole(self.cost, self.full)

    @torch.inference_mode()
    def rank(self, queries: Sequence[Query], *, progress: Progress | None = None) -> list[Ranking]:
        """Carry out the plans of some queries together.

        Args:
            queries: with their pairs, plans and budgets.
            progress: called after each batch with the layers that its pairs went through, of full width.

        Returns:
            A ranking a query, in the order given.
        """
        running = [self._start(query) for query in queries]
        while waiting := [item for item in running if item.work is not None]:
            for subnet, items in self._batches(waiting):
                layers = self._run(subnet, items)
                if progress is not None:
                    progress(len(items) * layers * subnet.width)
            for item in waiting:
                item.send(item.scores)
        return [item.ranking for item in running if item.ranking is not None]

    def _start(self, query: Query) -> _Running:
        buckets = self._buckets(query.pairs, query.plan.cuts)
        texts = self._texts(query.pairs)
        candidates = _candidates(buckets, texts, query.prior)
        walking = walk(query.plan, self.full, candidates, self.cost, query.budget, self.calibration)
        running = _Running(query, buckets, texts, walking)
        running.send(None)
        return running

    def _batches(self, waiting: list[_Running]) -> Iterator[tuple[SubNet, list[_Item]]]:
        """Work of all queries by sub-network and states at hand, sorted by bucket, `batch_size` tokens a batch."""
        work_of: dict[tuple[SubNet, SubNet | None], list[_Item]] = defaultdict(list)
        for running in waiting:
            work = running.work
            if work is None:
                continue
            for place, candidate in enumerate(work.candidates.tolist()):
                state = running.states.get(candidate)
                since = state.subnet if state is not None and work.subnet.continues(state.subnet) else None
                bucket = running.buckets[work.subnet.tokens][candidate]
                work_of[work.subnet, since].append(_Item(running, candidate, place, bucket))
        for (subnet, _), items in work_of.items():
            for batch in self._cut(sorted(items, key=lambda item: item.bucket)):
                now = self.clock()
                deadlines = [item.running.query.deadline for item in batch]
                part = [i for i, deadline in zip(batch, deadlines, strict=True) if deadline is None or now < deadline]
                if part:
                    yield subnet, part

    def _cut(self, items: list[_Item]) -> Iterator[list[_Item]]:
        """Runs of items whose padded tokens add up to at most `batch_size` (or one item)."""
        start = tokens = 0
        for index, item in enumerate(items):
            if index > start and tokens + item.bucket.tokens > self.batch_size:
                yield items[start:index]
                start, tokens = index, 0
            tokens += item.bucket.tokens
        if items:
            yield items[start:]

    def _run(self, subnet: SubNet, items: list[_Item]) -> int:
        """Score one batch and hand out its scores and, where they may be used again, its hidden states.

        Returns:
            How many layers were run.
        """
        wholes = [item.running.query.pairs[item.candidate] for item in items]
        read = [self.pairs.shorter(pair, subnet.tokens) for pair in wholes]
        layout = self._lay_out([(item.bucket, pair) for item, pair in zip(items, read, strict=True)])
        state = items[0].running.states.get(items[0].candidate)
        if state is not None and subnet.continues(state.subnet):
            hidden, done = torch.cat([item.running.states[item.candidate].hidden for item in items]), state.subnet.depth
        else:
            hidden, done = self._embed(layout, alone=self.cost.apart > 0), 0
        run = subnet.depth - done
        layers, apart = self.weights(subnet.width), self.cost.apart
        documents = None
        if apart and done <= apart:
            alone = SubNet(min(apart, subnet.depth), subnet.width)
            documents = self.encoder.run_groups(hidden, layers[done : alone.depth], layout.documents, self._products)
            hidden, done = self._joined(documents, self._queries(items, layout, alone), layout), alone.depth
        hidden = self.encoder.run_groups(hidden, layers[done : subnet.depth], layout.groups, self._products)
        scores = self._read(hidden, subnet.depth, layout)
        kept = hidden if documents is None or subnet.depth > apart else documents
        start = 0
        for item, pair, score in zip(items, wholes, scores.tolist(), strict=True):
            running = item.running
            size = item.bucket.tokens - (item.bucket.slots if kept is documents else 0)
            # A row's last bits depend on its place in a batch; the same pair twice must tie all the same.
            running.scores[item.place] = running.seen.setdefault((id(pair), subnet), score)
            if running.work is not None and running.work.keep:
                running.states[item.candidate] = _State(kept, start, size, subnet)
            else:
                running.states.pop(item.candidate, None)
            start += size
        return run

    def _queries(self, items: list[_Item], layout: _Layout, subnet: SubNet) -> list[Tensor]:
        """States `[Q, H]` of each item's query text alone after a sub-network, each text run once a query.

        A text goes on from the deepest states that it has left, whatever batch it left them in.
        """
        rows = [(batch, row) for batch in layout.batches for row in range(len(batch.ids))]
        fresh: dict[tuple[int, int], tuple[_Running, int, Batch, int]] = {}
        for item, (batch, row) in zip(items, rows, strict=True):
            text = item.running.texts[item.candidate]
            if (text, subnet) not in item.running.asked:
                fresh.setdefault((id(item.running), text), (item.running, text, batch, row))
        for running, text, batch, row in fresh.values():
            before = [known for number, known in running.asked if number == text and subnet.continues(known)]
            since = max(before, key=lambda known: known.depth, default=None)
            blank = batch.blank[row : row + 1, : batch.first]
            if since is None:
                first = slice(row, row + 1), slice(None, batch.first)
                hidden = self.encoder.embeddings(batch.ids[first], batch.types[first], self.dtype)[0]
            else:
                hidden = running.asked[text, since]
            group = Group(1, batch.first, padding_mask(blank, self.dtype))
            layers = self.weights(subnet.width)[since.depth if since is not None else 0 : subnet.depth]
            hidden = self.encoder.run_groups(hidden, layers, [group], self._products)
            running.asked[text, subnet] = hidden
        return [item.running.asked[item.running.texts[item.candidate], subnet] for item in items]

    def _joined(self, documents: Tensor, queries: list[Tensor], layout: _Layout) -> Tensor:
        """Pairs' states `[N, H]`, query before document, of their documents' states and their queries' `[Q, H]`."""
        parts, start, row = [], 0, 0
        for group, alone in zip(layout.groups, layout.documents, strict=True):
            end = start + alone.size * alone.tokens
            own = documents[start:end].view(alone.size, alone.tokens, -1)
            asked = torch.stack(queries[row : row + group.size])
            parts.append(torch.cat([asked, own], 1).flatten(0, 1))
            start, row = end, row + group.size
        return torch.cat(parts)

    def _lay_out(self, pairs: Sequence[tuple[Bucket, Pair]]) -> _Layout:
        """Pairs that are sorted by bucket, as one group of tensors a bucket."""
        batches, groups, documents = [], [], []
        for bucket, members in groupby(pairs, key=lambda item: item[0]):
            batch = self.pairs.batch([pair for _, pair in members], *bucket).to(self.device)
            batches.append(batch)
            padding = padding_mask(batch.blank, self.dtype)
            groups.append(Group(len(batch.ids), bucket.tokens, padding, batch.first))
            if self.cost.apart:
                alone = padding[..., batch.first :].contiguous()
                documents.append(Group(len(batch.ids), bucket.tokens - batch.first, alone))
        return _Layout(batches, groups, documents)

    def _embed(self, layout: _Layout, *, alone: bool = False) -> Tensor:
        """Embeddings `[N, H]` of a layout's pairs, or of their documents alone."""
        parts = []
        for batch in layout.batches:
            ids, types, first = batch.ids, batch.types, batch.first
            if alone:
                made = self.encoder.embeddings(ids[:, first:], types[:, first:], self.dtype, second=True)
            else:
                made = self.encoder.embeddings(ids, types, self.dtype, first)
            parts.append(made.flatten(0, 1))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _read(self, hidden: Tensor, depth: int, layout: _Layout) -> Floats:
        """Scores of a layout's pairs from hidden states `[N, H]` after `depth` layers."""
        scores, start = [], 0
        for batch, group in zip(layout.batches, layout.groups, strict=True):
            end = start + group.size * group.tokens
            states = hidden[start:end].view(group.size, group.tokens, -1)
            scores.append(self.encoder.read(states, depth, batch.segments))
            start = end
        return torch.cat(scores).double().cpu().numpy()

    @torch.inference_mode()
    def every_exit(
        self, pairs: Sequence[Pair], width: float, *, tokens: int | None = None, deepest: int | None = None
    ) -> dict[int, Floats]:
        """Scores `[n]` of pairs at every exit of one width: one pass gives all depths. For tables, not for ranking.

        Args:
            pairs: what to score.
            width: of the sub-networks.
            tokens: that documents are cut to; None: read whole.
            deepest: no exit after more layers; None: all.
        """
        depths = [depth for depth in self.encoder.depths if deepest is None or depth <= deepest]
        pairs = [self.pairs.shorter(pair, tokens) for pair in pairs]
        scores = {depth: np.empty(len(pairs)) for depth in depths}
        weights = self.weights(width)
        buckets = [self.pairs.bucket(pair) for pair in pairs]
        order = sorted(range(len(pairs)), key=lambda index: buckets[index])
        size = max(1, self.batch_size // max((bucket.tokens for bucket in buckets), default=1))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            layout = self._lay_out([(buckets[row], pairs[row]) for row in rows])
            hidden, done = self._embed(layout), 0
            for depth in depths:
                hidden = self.encoder.run_groups(hidden, weights[done:depth], layout.groups, self._products)
                done = depth
                scores[depth][rows] = self._read(hidden, depth, layout)
        return scores

    def weights(self, width: float) -> Sequence[Weights]:
        """Every layer at one width and this engine's dtype, as contiguous tensors made once."""
        if width not in self._weights:
            self._weights[width] = self.encoder.freeze(width, self.dtype)
        return self._weights[width]
