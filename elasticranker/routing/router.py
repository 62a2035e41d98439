"""Energy routing: a light ranker for every query, an accurate one where the light one isn't to be trusted.

After E-LANG (Akbari, Banitalebi-Dehkordi, Zhang; ACL 2022; arXiv 2203.00748), with a query's candidate list in the
place of a classifier's input. Nothing but the scores of the two rankers is used, so any PyTerrier reranker will do.
"""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt
from pyterrier.transformer import IdentityTransformer

from elasticranker.display.html import facts
from elasticranker.frames import Lists, check, floats, for_ir_measures, in_incoming_order
from elasticranker.planning.budget import Budget
from elasticranker.planning.words import percent
from elasticranker.routing.costs import Cost, allowance, checked_budget, query_costs
from elasticranker.routing.energies import Energy, get_energy
from elasticranker.routing.rescoring import SPEND, rescore, rescore_some
from elasticranker.routing.thresholds import (
    above,
    affordable,
    best_count,
    checked_share,
    count_of_share,
    count_within,
    cut,
)

if TYPE_CHECKING:
    from ir_measures import Measure

    from elasticranker.planning.plan import Floats


class EnergyRouter(pt.Transformer):
    """Swift ranks every query; Super ranks again those whose energy is above a threshold.

    Choose it over a single `ElasticRanker` when queries differ in difficulty and only the *mean* cost of a workload
    matters; a limit for every single query is what `ElasticRanker(budget=...)` alone promises. Two rankers where the
    second always sees the head of the first one's list are a cascade, and need no router. For classifiers and
    generators instead of rankers there is `JointInference`, the same mechanism.

    Super is given the candidates in Swift's order, with Swift's scores. Its own scores replace Swift's; candidates
    below `super_depth` keep Swift's order underneath. The output has the input's rows and columns with new `score` (no
    ties) and `rank` (from 0), queries in the order of the input; what else the two rankers add is dropped.

    Which queries Super gets:

    - with a `threshold` (given, or set by `calibrate`): those of higher energy. The decision for a query then depends
      on nothing but the query.
    - without one but with a `super_share`: the share of highest energy of each frame, rounded down.
    - with a `budget`: of those (of all, if neither is given) the ones of highest energy as long as the frame's mean
      cost per query, Swift's included, stays within the budget. This is a promise about every frame: one query alone
      is a frame too, and gets no more than the budget.

    Args:
        swift: The light reranker; `pt.Transformer.identity()` keeps the incoming scores and costs nothing.
        super: The accurate reranker.
        energy: A name of `elasticranker.routing.energies.ENERGIES` or a function of one query's scores.
        threshold: Energy above which a query goes to Super.
        super_share: Share of queries for Super, 0 to 1; used where there is no threshold.
        budget: Mean cost of a query at most: a share of what Super alone would cost on the whole lists ("25%"), or an
            amount ("20 GFLOPs").
        super_depth: Super ranks again only so many candidates from the top of Swift's list; None for all.
        top_k: The energy is taken of so many of Swift's best scores; None for all. An `ElasticRanker` at a reduced
            budget shifts what it couldn't afford to score below the rest: the head of the list is free of that.
        swift_cost: What Swift costs, needed with a budget only: FLOPs per pair, or a function from a frame to a Series
            of FLOPs by qid; None asks the ranker itself (an `ElasticRanker`, or identity). The promise about the
            budget holds as far as this is an upper bound.
        super_cost: The same for Super. With a share as the budget any unit will do, if both costs are in it.
        trace: Add the columns `energy` and `routed_to` ("swift" or "super"), and `spend` (FLOPs) where both rankers
            tell theirs (`ElasticRanker(trace=True)` does; see `traced`).

    Raises:
        ValueError: An argument is out of range; at transform, no threshold, super_share or budget is given, Swift
            alone is dearer than the budget, or a ranker gives no score (or NaN) to a row: the message names the query.

    Example:
        >>> router = EnergyRouter(ElasticRanker(budget="5%"), ElasticRanker(budget="full"), super_share=0.3)
        >>> pipeline = bm25 >> text >> router.calibrate((bm25 >> text)(sample_of_queries))
    """

    # Without the key help_url, PyTerrier looks for the class's page on the network.
    schematic: ClassVar[dict[str, Any]] = {"label": "EnergyRouter", "help_url": None}

    def __init__(
        self,
        swift: pt.Transformer,
        super: pt.Transformer,
        *,
        energy: str | Energy = "free",
        threshold: float | None = None,
        super_share: float | None = None,
        budget: Budget | str | None = None,
        super_depth: int | None = None,
        top_k: int | None = None,
        swift_cost: Cost = None,
        super_cost: Cost = None,
        trace: bool = False,
    ) -> None:
        for name, ranker in (("swift", swift), ("super", super)):
            if not isinstance(ranker, pt.Transformer):
                raise ValueError(f"{name} must be a PyTerrier transformer, but is {ranker!r}")
        get_energy(energy)
        for name, depth in (("super_depth", super_depth), ("top_k", top_k)):
            if depth is not None and depth < 1:
                raise ValueError(f"{name} must be at least 1, or None for all candidates, but is {depth!r}")
        if threshold is not None and np.isnan(threshold):
            raise ValueError("threshold is NaN: give a number, or leave it out and call calibrate()")
        self.swift = swift
        self.super = super
        self.energy = energy
        self.threshold = threshold
        self.super_share = checked_share(super_share)
        self.budget = checked_budget(budget)
        self.super_depth = super_depth
        self.top_k = top_k
        self.swift_cost = swift_cost
        self.super_cost = super_cost
        self.trace = trace

    def set_parameter(self, name: str, value: Any) -> None:
        """For PyTerrier's grid search: become the router that this argument makes."""
        vars(self).update(vars(pt.inspect.transformer_apply_attributes(self, **{name: value})))

    def traced(self) -> EnergyRouter:
        """A sibling with `trace=True`, and rankers that trace where they can, so that it tells what it spends."""
        other = copy.copy(self)
        other.trace = True
        other.swift, other.super = (r.traced() if hasattr(r, "traced") else r for r in (self.swift, self.super))
        return other

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Rank the candidates of each query by Swift or by Super; see the class for what comes out."""
        candidates = self._candidates(inp)
        if inp.empty:
            empty = inp.assign(score=np.empty(0), rank=np.empty(0, dtype=np.int64))
            if self.trace and all(_tells(ranker, list(inp.columns)) for ranker in (self.swift, self.super)):
                empty = empty.assign(**{SPEND: np.empty(0)})
            return self._traced(empty, np.empty(0), np.empty(0, dtype=bool))
        if self.threshold is None and self.super_share is None and self.budget is None:
            raise ValueError(
                "nothing says which queries go to Super: give threshold, super_share or budget, or call calibrate"
            )
        left = None if self.budget is None else self._allowance(candidates, self.budget)
        ranked = rescore(self.swift, candidates, "swift")
        energies = _energies(ranked, self.energy, self.top_k)
        to_super = above(energies, threshold=self.threshold, share=self.super_share)
        if left is not None:
            to_super = affordable(energies, self._super_costs(ranked), left, to_super)
        query = ranked.numbers
        return self._traced(self._rerank(ranked, to_super[query]), energies[query], to_super[query])

    def calibrate(
        self,
        candidates: pd.DataFrame,
        qrels: pd.DataFrame | None = None,
        *,
        super_share: float | None = None,
        budget: Budget | str | None = None,
        measure: str | Measure = "nDCG@10",
    ) -> EnergyRouter:
        """Set the threshold from a sample of queries that is not reported on, and return this same router.

        Without labels, the largest part of the sample that `super_share` and `budget` allow is above the threshold:
        exactly that share of its queries (rounded down) unless energies tie, and as many as the mean cost affords. With
        `qrels`, the part of the sample up to there that gives the best mean effectiveness; of equals, the cheapest.

        A `super_share` given here is a target for queries like the sample's. A `budget` given here becomes the
        router's, and so a promise for every frame from then on.

        Args:
            candidates: A frame of the kind that `transform` takes.
            qrels: Columns qid, docno, label. Super is run on the whole sample only if this is given.
            super_share: Instead of the router's own.
            budget: Instead of the router's own.
            measure: What the qrels are used for, a measure of ir_measures.

        Raises:
            ValueError: The sample is empty, there is nothing to calibrate for, or the qrels judge none of its queries.

        Example:
            >>> EnergyRouter(swift, super).calibrate(sample, super_share=0.3).threshold
            -4.61
        """
        share = self.super_share if super_share is None else checked_share(super_share)
        limit = self.budget if budget is None else checked_budget(budget)
        sample = self._candidates(candidates)
        if qrels is not None:
            check(qrels)
        if candidates.empty:
            raise ValueError("the sample holds no candidates: give a frame of the kind that transform takes")
        if share is None and limit is None and qrels is None:
            raise ValueError("nothing to calibrate for: give super_share, budget or qrels")
        left = None if limit is None else self._allowance(sample, limit)
        ranked = rescore(self.swift, sample, "swift")
        energies = _energies(ranked, self.energy, self.top_k)
        count = len(energies) if share is None else count_of_share(share, len(energies))
        if left is not None:
            count = min(count, count_within(energies, self._super_costs(ranked), float(left)))
        if qrels is not None:
            rows = len(ranked.frame)
            by_super, by_swift = (self._rerank(ranked, np.full(rows, all_of_it)) for all_of_it in (True, False))
            gains = _effectiveness(by_super, qrels, measure) - _effectiveness(by_swift, qrels, measure)
            count = best_count(energies, gains, count)
        self.threshold, self.super_share, self.budget = cut(energies, count), share, limit
        return self

    def transform_inputs(self) -> list[str]:
        """Columns that transform needs: those of both rankers, and the score where Swift only passes it on."""
        columns = ["qid", "docno"]
        for ranker in (self.swift, self.super):
            modes = pt.inspect.transformer_inputs(ranker, strict=False) or [[]]
            columns += [column for column in modes[0] if column not in columns]
        outputs = pt.inspect.transformer_outputs(self.swift, columns, strict=False)
        return columns if outputs is None or "score" in outputs else [*columns, "score"]

    def __repr__(self) -> str:
        named = [a for a in pt.inspect.transformer_attributes(self) if a.name not in ("swift", "super")]
        changed = [f"{a.name}={_typed(a.value)}" for a in named if a.value != a.init_default_value]
        return f"EnergyRouter({', '.join([repr(self.swift), repr(self.super), *changed])})"

    def _repr_html_(self) -> str | None:
        drawn = super()._repr_html_()
        return None if drawn is None else drawn + facts(self._facts())

    def _facts(self) -> dict[str, str]:
        """What a notebook shows under the schematic."""
        limits = []
        if self.threshold is not None:
            limits.append(f"queries of an energy above {self.threshold:.4g}")
        elif self.super_share is not None:
            limits.append(f"the {percent(self.super_share)} of a frame's queries with the highest energy")
        if self.budget is not None:
            limits.append(f"as long as the mean cost of a frame's queries, Swift's included, is within {self.budget}")
        energy = self.energy if isinstance(self.energy, str) else getattr(self.energy, "__name__", repr(self.energy))
        return {
            "swift": repr(self.swift),
            "super": repr(self.super) + ("" if self.super_depth is None else f", for the first {self.super_depth}"),
            "energy": energy + ("" if self.top_k is None else f" of the {self.top_k} best scores"),
            "what Super gets": ", ".join(limits)
            or "not decided yet: give threshold, super_share or budget, or calibrate",
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EnergyRouter):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((EnergyRouter, self.swift, self.super, self.energy))  # nothing that calibrate changes

    def _values(self) -> dict[str, Any]:
        return {attribute.name: attribute.value for attribute in pt.inspect.transformer_attributes(self)}

    def _candidates(self, frame: pd.DataFrame) -> Lists:
        """The candidates of each query as they came, checked."""
        columns = self.transform_inputs()
        pt.validate.columns(frame, includes=columns, context=self)
        return in_incoming_order(frame, others=columns)

    def _allowance(self, candidates: Lists, budget: Budget) -> Fraction:
        swift_costs = query_costs(self.swift, self.swift_cost, candidates.frame, "swift")
        super_costs = query_costs(self.super, self.super_cost, candidates.frame, "super")
        return allowance(budget, swift_costs, super_costs)

    def _super_costs(self, ranked: Lists) -> Floats:
        return query_costs(self.super, self.super_cost, ranked.frame[self._in_head(ranked)], "super")

    def _in_head(self, ranked: Lists) -> npt.NDArray[np.bool_]:
        depth = np.inf if self.super_depth is None else self.super_depth
        return ranked.frame["rank"].to_numpy() < depth

    def _rerank(self, ranked: Lists, to_super: npt.NDArray[np.bool_]) -> pd.DataFrame:
        """The final ranking, given by row whether its query goes to Super."""
        return rescore_some(self.super, ranked, to_super & self._in_head(ranked), "super").untied()

    def _traced(self, frame: pd.DataFrame, energies: Floats, to_super: npt.NDArray[np.bool_]) -> pd.DataFrame:
        spend = frame.get(SPEND)
        frame = frame.drop(columns=SPEND, errors="ignore")
        if not self.trace:
            return frame
        frame = frame.assign(energy=energies, routed_to=np.where(to_super, "super", "swift"))
        return frame if spend is None or np.isnan(spend).any() else frame.assign(spend=spend)


def query_energies(ranked: pd.DataFrame, energy: str | Energy, top_k: int | None = None) -> pd.Series:
    """The energy of each query's list, by qid in the order of the frame.

    Args:
        ranked: Columns qid and score, and rank where ties have an order.
        energy: A name of `elasticranker.routing.energies.ENERGIES` or a function of one query's scores.
        top_k: Take it of so many of the best scores; None for all.

    Raises:
        ValueError: The energy of a query is not finite; the message names the query.
    """
    lists = in_incoming_order(ranked, names=("qid",))
    return pd.Series(_energies(lists, energy, top_k), index=pd.Index(lists.qids, tupleize_cols=False))


def _energies(lists: Lists, energy: str | Energy, top_k: int | None) -> Floats:
    energy_of, scores = get_energy(energy), floats(lists.frame, "score")
    energies = np.asarray([float(energy_of(scores[rows][:top_k])) for rows in lists])
    if not np.isfinite(energies).all():
        wrong = int((~np.isfinite(energies)).argmax())
        raise ValueError(
            f"the energy {energy!r} of query {lists.qids[wrong]!r} is {energies[wrong]}: an energy must be finite"
        )
    return energies


def _effectiveness(ranked: pd.DataFrame, qrels: pd.DataFrame, measure: str | Measure) -> Floats:
    """The measure for each query in the order of the frame; 0 for queries that the qrels don't judge."""
    import ir_measures

    wanted = ir_measures.parse_measure(measure) if isinstance(measure, str) else measure
    run, judged = for_ir_measures(ranked, "score"), for_ir_measures(qrels, "label")
    values = {result.query_id: result.value for result in ir_measures.iter_calc([wanted], judged, run)}
    queries = list(dict.fromkeys(run["query_id"]))
    if not any(query in values for query in queries):
        raise ValueError("the qrels judge none of the sample's queries: give theirs, or calibrate without qrels")
    return np.array([values.get(query, 0.0) for query in queries])


def _tells(ranker: pt.Transformer, columns: list[str]) -> bool:
    """Will a ranker tell what it spends?"""
    outputs = pt.inspect.transformer_outputs(ranker, columns, strict=False) or []
    return isinstance(ranker, IdentityTransformer) or "spend" in outputs


def _typed(value: Any) -> str:
    return repr(str(value)) if isinstance(value, Budget) else repr(value)
