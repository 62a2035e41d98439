"""What the server asks of the model: tokenise a request, price it, and rank several requests together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from elasticranker.model.loaded import dtype_name
from elasticranker.model.speed import TIME_MARGIN

if TYPE_CHECKING:
    from elasticranker.model.engine import Query
    from elasticranker.model.pairs import Pair
    from elasticranker.ranker import ElasticRanker


@dataclass(frozen=True)
class Prepared:
    """A tokenised request.

    Attributes:
        pairs: the query with each of its texts, in incoming order.
        cost: FLOPs of the whole model over them.
        cut: how many pairs were longer than the model takes.
        tokens: of all pairs, special ones included.
    """

    pairs: Sequence[Pair]
    cost: int
    cut: int
    tokens: int


@dataclass(frozen=True)
class Task:
    """A prepared request with what it may cost.

    Attributes:
        prepared: the pairs.
        share: the budget as a share of the full cost; it chooses the plan.
        budget: FLOPs that must not be exceeded.
        scores: incoming scores of the texts, or None.
        deadline: on the scorer's clock, when its ranking has to be done; None for none.
    """

    prepared: Prepared
    share: float
    budget: int
    scores: Sequence[float] | None = None
    deadline: float | None = None


@dataclass(frozen=True)
class Scored:
    """A ranking.

    Attributes:
        order: texts from best to worst.
        scores: strictly falling, in that order, on the scale of the whole model's logits.
        relevance: the probabilities of relevance that these mean; equal where they are too near to be told apart.
        spend: FLOPs.
    """

    order: list[int]
    scores: list[float]
    relevance: list[float]
    spend: int


class Scorer(Protocol):
    """What `Worker` and the app need of a model. `prepare` and `rank` are called from one thread each."""

    def prepare(self, query: str, texts: Sequence[str]) -> Prepared:
        """Tokenise and price a request."""

    def rank(self, tasks: Sequence[Task]) -> list[Scored]:
        """Rank requests together: one answer each, in the order given."""

    def clock(self) -> float:
        """Seconds, for deadlines."""

    def flops_in(self, seconds: float) -> float:
        """FLOPs that fit into `seconds`."""

    def describe(self) -> dict[str, Any]:
        """What `GET /info` says of the model."""


class RankerScorer:
    """An `ElasticRanker`'s model as the server uses it: loaded, measured and warm once this is made.

    Example:
        >>> scorer = RankerScorer(ElasticRanker())  # doctest: +SKIP
        >>> schedule = ElasticSchedule(scorer.shares, scorer.profile, slo=0.2)  # doctest: +SKIP
        >>> app = create_app(scorer, schedule)  # doctest: +SKIP

    Args:
        ranker: names the model and how it runs; its own budget plays no part.
    """

    def __init__(self, ranker: ElasticRanker) -> None:
        self.ranker, self.engine, self.profile = ranker, ranker.engine, ranker.speed
        self.ladder = ranker.ladder
        for width in self.ladder.widths:  # narrower weights are cut when first used: not in the first request
            self.engine.weights(width)

    @property
    def shares(self) -> list[float]:
        """The ladder's budgets, rising, the last 1: what a schedule chooses from."""
        return sorted({rung.share for rung in self.ladder.rungs} | {1.0})

    def clock(self) -> float:
        """The engine's clock."""
        return self.engine.clock()

    def flops_in(self, seconds: float) -> float:
        """FLOPs that fit into `seconds`, with a margin."""
        return self.profile.flops_in(TIME_MARGIN * seconds)

    def prepare(self, query: str, texts: Sequence[str]) -> Prepared:
        """Tokenise a request, every distinct text once, and price it."""
        encoder = self.engine.pairs
        distinct = list(dict.fromkeys(texts))
        question, documents = encoder.queries([query])[0], encoder.tokens(distinct)
        pairs = {text: encoder.pair(question, document) for text, document in zip(distinct, documents, strict=True)}
        whole = {text: len(question) + len(document) for text, document in zip(distinct, documents, strict=True)}
        chosen = [pairs[text] for text in texts]
        cut = sum(len(pairs[text].query) + len(pairs[text].document) < whole[text] for text in texts)
        return Prepared(chosen, self.engine.full_cost(chosen), cut, sum(map(encoder.length, chosen)))

    def rank(self, tasks: Sequence[Task]) -> list[Scored]:
        """Rank requests together: the engine shares batches between them."""
        rankings = self.engine.rank([self._query(task) for task in tasks])
        return [
            Scored(
                ranking.order.tolist(),
                ranking.scores.tolist(),
                self.engine.calibration.relevance(ranking.scores).tolist(),
                int(ranking.spend.sum()),
            )
            for ranking in rankings
        ]

    def describe(self) -> dict[str, Any]:
        """Names and limits of the model, in the words of text-embeddings-inference, and its ladder."""
        return self._description

    @cached_property
    def _description(self) -> dict[str, Any]:
        limits = self.engine.pairs
        return {
            "model_id": self.ranker.model,
            "model_sha": self.ranker.fingerprint,
            "model_dtype": dtype_name(self.engine.dtype),
            "max_input_length": limits.max_length,
            "max_query_length": limits.max_query_length,
            "rungs": [
                {"share": rung.share, "plan": str(rung.plan), "quality": rung.quality} for rung in self.ladder.rungs
            ],
        }

    def _query(self, task: Task) -> Query:
        from elasticranker.model.engine import Query

        share, budget = task.share, task.budget
        if task.deadline is not None:  # waiting has used up some of its time
            affordable = int(self.flops_in(max(0.0, task.deadline - self.clock())))
            if affordable < budget:
                share, budget = affordable / task.prepared.cost, affordable
        prior = None if task.scores is None else np.asarray(task.scores, dtype=np.float64)
        return Query(list(task.prepared.pairs), prior, self.ladder.plan(share), budget, task.deadline)
