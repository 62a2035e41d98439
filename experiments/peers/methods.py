"""Part B: methods on one checkpoint, as curves of effectiveness against FLOPs and milliseconds.

All are plans that our engine runs, so that they differ in what they score and in nothing else:

- ours: the checkpoint's tuned ladder;
- fixed top-k: as many of the first candidates as the budget affords, by the full model: what everyone does today;
- SEE: the training-free filter of *Similarity-based Early Exit* (Busolin et al. 2025): all candidates by the similarity
  of embedding-layer states mixed with the incoming score, the best of them by the full model;
- fixed depth: every candidate by the same number of layers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.measures import effectiveness, holm, paired_t
from elasticranker.frames import in_incoming_order
from elasticranker.planning.budget import Budget
from elasticranker.planning.ladder import Ladder, untuned
from elasticranker.planning.plan import Floats, Plan, Stage, SubNet
from experiments.peers.standings import run_of

if TYPE_CHECKING:
    from tqdm import tqdm

    from elasticranker.model.engine import Engine
    from elasticranker.model.pairs import Pair
    from elasticranker.ranker import ElasticRanker

BUDGETS = ("2%", "5%", "10%", "15%", "25%", "35%", "50%", "70%", "100%")
OURS, TOP_K, SEE, DEPTH, FULL = "ours", "fixed top-k", "SEE", "fixed depth", "full"
METHODS = (OURS, TOP_K, SEE, DEPTH)
MEASURED, COSTS = ("nDCG@10", "RR@10"), ("gflops_mean", "ms_p50")
CHEAPER = 0.9  # of our cheapest point's cost: below it nothing of ours compares
COLUMNS = (
    "system",
    "budget",
    "gflops_mean",
    "gflops_max",
    "ms_p50",
    "nDCG@10",
    "RR@10",
    "ours_at_gflops",
    "ours_at_ms",
    "p_value",
    "ours_not_below",
)


@dataclass(frozen=True)
class Point:
    """One method at one budget.

    Attributes:
        method: of `METHODS`, or `FULL`.
        budget: as a person writes it: "25%", or "6 layers" for a fixed depth.
        plan: how it spends.
        share: of the full cost that it may spend; None where the plan's first sub-network over all candidates is the
            whole cost, to the FLOP, so that nothing is left to spend otherwise.
    """

    method: str
    budget: str
    plan: Plan
    share: float | None

    @property
    def name(self) -> str:
        """For example "SEE, 25%"."""
        return f"{self.method}, {self.budget}"

    def allowance(self, engine: Engine, pairs: Sequence[Pair]) -> int:
        """FLOPs that it may spend on a query's pairs."""
        if self.share is None:
            return engine.costs(pairs).whole(engine.cost, self.plan.stages[0].subnet)
        return int(self.share * engine.full_cost(pairs))


def points(ladder: Ladder, depths: Sequence[int], budgets: Sequence[str]) -> list[Point]:
    """Every method at every budget; at 100 % all are the full model, which comes once, last.

    A fixed depth isn't to be had at every budget: the depths whose share of the layers is nearest are taken.

    Args:
        ladder: the checkpoint's.
        depths: of its exits, at full width.
        budgets: shares such as "25%".

    Raises:
        ValueError: a budget isn't a share.
    """
    parsed = [Budget(budget) for budget in budgets]
    wrong = [str(budget) for budget in parsed if budget.kind != "share"]
    if wrong:
        raise ValueError(f"budgets={wrong}: methods are compared at shares of the full cost, such as '25%'")
    shares = sorted({budget.value for budget in parsed if not budget.is_full})
    full, named = ladder.full, {share: f"{100 * share:g}%" for share in shares}
    made = [Point(OURS, named[share], ladder.plan(share), share) for share in shares]
    made += [Point(TOP_K, named[share], Plan((Stage(full, 1.0),)), share) for share in shares]
    if 0 in depths:
        see = untuned([SubNet(0), full]).rungs[0].plan
        made += [Point(SEE, named[share], see, share) for share in shares]
    below = [depth for depth in depths if depth < full.depth]
    nearest = {min(below, key=lambda depth: abs(depth / full.depth - share)) for share in shares} if below else set()
    made += [
        Point(DEPTH, f"{depth} layer{'s' * (depth != 1)}", Plan((Stage(SubNet(depth), 1.0),)), None)
        for depth in sorted(nearest)
    ]
    return [*made, Point(FULL, "100%", ladder.plan(1.0), 1.0)]


def rerank(ranker: ElasticRanker, point: Point, frame: pd.DataFrame) -> tuple[pd.DataFrame, int, int]:
    """One query by one method.

    Args:
        ranker: whose engine runs it.
        point: the method.
        frame: the query's candidates, in incoming order.

    Returns:
        The run (columns qid, docno, score), the FLOPs spent and the FLOPs allowed.
    """
    from elasticranker.model.engine import Query

    ((_, pairs),) = ranker.pairs(frame)
    allowance = point.allowance(ranker.engine, pairs)
    prior = pd.to_numeric(frame["score"], errors="coerce").to_numpy(float)
    (ranking,) = ranker.engine.rank([Query(pairs, prior, point.plan, allowance)])
    run = frame[["qid", "docno"]].iloc[ranking.order].assign(score=ranking.scores)
    return run, int(ranking.spend.sum()), allowance


def measure_methods(
    ranker: ElasticRanker, chosen: Sequence[Point], candidates: Candidates, journal: Journal, *, bar: tqdm
) -> None:
    """Rerank every query by every method in rotating order, one query at a time, into a journal.

    Raises:
        RuntimeError: a method spent more than its budget.
    """
    known = {entry["qid"] for entry in journal if entry["part"] == "methods"}
    lists = in_incoming_order(candidates.frame)
    pending = [
        (place, str(qid), rows)
        for place, (qid, rows) in enumerate(zip(lists.qids, lists.frames(), strict=True))
        if str(qid) not in known
    ]
    bar.set_description("methods: warm-up")
    for point in chosen if pending else ():
        rerank(ranker, point, pending[0][2])
    for place, qid, rows in pending:
        first = place % len(chosen)
        entry: dict[str, Any] = {}
        for point in [*chosen[first:], *chosen[:first]]:
            bar.set_description(f"methods, query {place + 1}")
            started = time.perf_counter()
            run, flops, allowance = rerank(ranker, point, rows)
            ms = 1000 * (time.perf_counter() - started)
            if flops > allowance:
                raise RuntimeError(f"{point.name} spent {flops} FLOPs of {allowance} on query {qid}: please report it")
            entry[point.name] = {"ms": ms, "flops": flops}
            entry[point.name] |= {"docnos": run["docno"].tolist(), "scores": run["score"].tolist()}
            bar.update()
        journal.append({"part": "methods", "qid": qid, "systems": entry})


def summary(chosen: Sequence[Point], candidates: Candidates, journal: Journal, *, rel: int) -> pd.DataFrame:
    """One row a method and budget, columns as in `COLUMNS`.

    `ours_at_gflops` and `ours_at_ms`: our nDCG@10 at the same cost, between our points by the logarithm of the cost;
    empty for what is cheaper than our cheapest point. `p_value`: paired t-test on nDCG@10 against ours at the same
    GFLOPs, Holm-corrected over the rows. `ours_not_below`: whether ours is at least as good there, by both costs and
    both measures: "yes", "NO", or "?" where one of the costs is below our cheapest point's and the rest is fine.
    """
    entries = [entry for entry in journal if entry["part"] == "methods"]
    rows = []
    for point in chosen:
        flops = np.array([entry["systems"][point.name]["flops"] for entry in entries]) / 1e9
        ms = [entry["systems"][point.name]["ms"] for entry in entries]
        quality = effectiveness(run_of(entries, point.name), candidates.qrels, rel=rel)
        row: dict[str, Any] = {"system": point.method, "budget": point.budget, "gflops_mean": float(flops.mean())}
        row |= {"gflops_max": float(flops.max()), "ms_p50": float(np.percentile(ms, 50))}
        rows.append(row | {name: quality[name].to_numpy() for name in MEASURED})
    return compared(pd.DataFrame(rows))


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The table with ours beside every other method at the same cost; measures come as arrays, a value a query."""
    ours, others = table[table["system"].isin([OURS, FULL])], ~table["system"].isin([OURS, FULL])
    made = table.assign(**{measure: table[measure].map(np.mean) for measure in MEASURED})
    fine, comparable = np.ones(len(table), bool), np.ones(len(table), bool)
    p_values = np.full(len(table), np.nan)
    for cost, column in zip(COSTS, ("ours_at_gflops", "ours_at_ms"), strict=True):
        curve = ours.sort_values(cost)
        within = (table[cost] >= CHEAPER * curve[cost].iloc[0]).to_numpy()
        comparable &= within
        for measure in MEASURED:
            at = _between(curve[cost], np.stack(list(curve[measure])), table[cost])
            fine &= ~within | (at.mean(1) >= made[measure].to_numpy() - 1e-9)
            if measure == "nDCG@10":
                made[column] = np.where(within & others, at.mean(1), np.nan)
                for row in np.flatnonzero(within & others) if cost == "gflops_mean" else ():
                    p_values[row] = paired_t(pd.Series(table[measure].iloc[row]), pd.Series(at[row]))
    words = np.where(fine, np.where(comparable, "yes", "?"), "NO")
    return made.assign(p_value=holm(list(p_values)), ours_not_below=np.where(others, words, ""))[list(COLUMNS)]


def _between(costs: pd.Series, values: Floats, wanted: pd.Series) -> Floats:
    """Values `[wanted, queries]` at some costs, between points `[points, queries]` by the logarithm of the cost."""
    x, at = np.log(costs.to_numpy(float)), np.log(wanted.to_numpy(float))
    return np.stack([np.interp(at, x, column) for column in values.T], axis=1)


def verdicts(table: pd.DataFrame) -> list[str]:
    """Where ours doesn't lie above the other methods, a sentence a place; one sentence if it does everywhere."""
    below, unknown = table[table["ours_not_below"] == "NO"], int((table["ours_not_below"] == "?").sum())
    lines = [
        f"ours is below {row['system']} at {row['budget']} ({row['gflops_mean']:.4g} GFLOPs, {row['ms_p50']:.4g} ms) "
        f"by some measure: nDCG@10 {row['nDCG@10']:.4f} there; {_ours(row)}"
        for row in below.to_dict("records")
    ]
    if below.empty:
        lines.append("ours is nowhere below another method at the same GFLOPs or milliseconds, by nDCG@10 or RR@10")
    if unknown:
        lines.append(
            f"{unknown} points of other methods, marked ?, cost less than our cheapest one by one of the costs"
        )
    return lines


def _ours(row: dict[Any, Any]) -> str:
    """Our nDCG@10 beside a point of another method, as far as there is any."""
    named = {"ours_at_gflops": "at the same GFLOPs", "ours_at_ms": "at the same ms"}
    found = [f"{row[column]:.4f} {where}" for column, where in named.items() if row[column] == row[column]]
    return "ours " + ", ".join(found) + ("" if np.isnan(row["p_value"]) else f" (p = {row['p_value']:.3f})")
