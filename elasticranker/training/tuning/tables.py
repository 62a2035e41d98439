"""Score tables: what every sub-network says of every candidate, to try plans without running the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from elasticranker.frames import in_incoming_order
from elasticranker.model.engine import Engine
from elasticranker.model.pairs import Pair
from elasticranker.planning.cost import CostModel
from elasticranker.planning.plan import Candidates, Floats, Plan, Ranking, SubNet, walk
from elasticranker.progress import bar

if TYPE_CHECKING:
    import pandas as pd

    from elasticranker.ranker import ElasticRanker

CUTOFF = 10
LOST = 0.1  # what losing the full model's first costs beyond its mean


@dataclass(frozen=True)
class Table:
    """One query's candidates and their scores by every sub-network.

    Attributes:
        candidates: lengths and incoming scores.
        scores: sub-network to `[n]` scores.
        labels: `[n]` gains by the judgements; all 0 where nobody judged.
        full: the whole model.
    """

    candidates: Candidates
    scores: dict[SubNet, Floats]
    labels: Floats
    full: SubNet

    def replay(self, plan: Plan, cost: CostModel, budget: int) -> Ranking:
        """Carry out a plan on the table: the ranking that the model would give."""
        walking = walk(plan, self.full, self.candidates, cost, budget)
        try:
            work = next(walking)
            while True:
                work = walking.send(self.scores[work.subnet][work.candidates])
        except StopIteration as stop:
            ranking: Ranking = stop.value
            return ranking

    def head(self, count: int) -> Table:
        """The table of the first candidates alone."""
        known, cut = self.candidates, slice(count)
        candidates = Candidates(
            known.tokens[cut],
            known.slots if isinstance(known.slots, int) else known.slots[cut],
            None if known.prior is None else known.prior[cut],
            None if known.texts is None else known.texts[cut],
            {tokens: lengths[cut] for tokens, lengths in known.short.items()},
        )
        scores = {subnet: values[cut] for subnet, values in self.scores.items()}
        return Table(candidates, scores, self.labels[cut], self.full)

    def full_cost(self, cost: CostModel) -> int:
        """FLOPs of the whole model over the candidates."""
        return self.candidates.whole(cost, self.full)

    def quality(self, order: np.ndarray) -> float:
        """How good an order of the candidates is: nDCG@10 and RR@10, by the judgements and by the full model.

        Mean of the two measures and of the two judges. The full model's own top ten (gains 10 to 1) say more about a
        plan than a single judged passage a query does, and are there for queries that nobody judged; the judgements
        keep a plan from being rewarded for the full model's mistakes. An order that loses the full model's first
        altogether pays `LOST` beside that: it is what users notice.
        """
        gains = np.zeros(len(order))
        top = np.argsort(-self.scores[self.full], kind="stable")[:CUTOFF]
        gains[top] = np.arange(CUTOFF, CUTOFF - len(top), -1)
        first = reciprocal_rank(gains >= gains.max(initial=0.0), order)
        imitation = (ndcg(gains, order) + first) / 2 - (LOST if not first else 0.0)
        if not self.labels.any():
            return imitation
        return (imitation + (ndcg(self.labels, order) + reciprocal_rank(self.labels > 0, order)) / 2) / 2


def ndcg(gains: Floats, order: np.ndarray) -> float:
    """nDCG@10 (linear gains, as trec_eval) of an order of candidates with these gains."""
    discounts = 1 / np.log2(np.arange(2, CUTOFF + 2))
    best = np.sort(gains)[::-1][:CUTOFF]
    found = gains[order[:CUTOFF]]
    ideal = float((best * discounts[: len(best)]).sum())
    return float((found * discounts[: len(found)]).sum()) / ideal if ideal else 0.0


def reciprocal_rank(relevant: np.ndarray, order: np.ndarray) -> float:
    """RR@10 of an order of candidates, some of which are relevant."""
    found = np.flatnonzero(relevant[order[:CUTOFF]])
    return 1 / (1 + int(found[0])) if len(found) else 0.0


def tabulate(
    ranker: ElasticRanker, frame: pd.DataFrame, qrels: pd.DataFrame, *, cuts: Sequence[int] = ()
) -> list[Table]:
    """Score tables of the queries of a frame with texts, in the frame's order; `cuts` as `make_tables` takes them."""
    gains = {
        (qid, docno): max(0, label)
        for qid, docno, label in zip(qrels["qid"], qrels["docno"], qrels["label"], strict=True)
    }
    queries = []
    lists = in_incoming_order(frame)
    for rows, (qid, pairs) in zip(lists.frames(), ranker.pairs(lists.frame), strict=True):
        labels = np.asarray([gains.get((qid, docno), 0) for docno in rows["docno"]], dtype=float)
        queries.append((pairs, rows["score"].to_numpy(dtype=float), labels))
    return make_tables(ranker.engine, queries, ranker.checkpoint.widths, cuts=cuts)


def make_tables(
    engine: Engine,
    queries: Sequence[tuple[list[Pair], Floats | None, Floats]],
    widths: Sequence[float],
    *,
    cuts: Sequence[int] = (),
    together: int = 8,
) -> list[Table]:
    """Score every candidate of every query at every exit of every width.

    Args:
        engine: over the checkpoint to tune.
        queries: pairs, incoming scores or None, and gains of each query's candidates, in incoming order.
        widths: of the checkpoint.
        cuts: to how many tokens documents are cut as well, for exits of the lower half of the layers.
        together: queries whose pairs share batches.
    """
    tables = []
    with bar(name="score tables", total=len(queries), unit="queries") as moving:
        for start in range(0, len(queries), together):
            part = queries[start : start + together]
            pairs = [pair for query in part for pair in query[0]]
            columns = {}
            for width in widths:
                for depth, scores in engine.every_exit(pairs, width).items():
                    if depth or width == 1.0:
                        columns[SubNet(depth, width)] = scores
                for cut in cuts:
                    half = engine.full.depth // 2
                    for depth, scores in engine.every_exit(pairs, width, tokens=cut, deepest=half).items():
                        if depth or width == 1.0:
                            columns[SubNet(depth, width, cut)] = scores
            first = 0
            for own, prior, labels in part:
                rows = slice(first, first + len(own))
                by_subnet = {subnet: column[rows] for subnet, column in columns.items()}
                bare = engine.costs(own, cuts)
                tables.append(Table(replace(bare, prior=prior), by_subnet, labels, engine.full))
                first += len(own)
            moving.update(len(part))
    return tables
