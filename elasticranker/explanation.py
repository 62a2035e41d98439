"""What a budget did to one query: who was scored by what, what it cost, where each candidate moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from elasticranker.planning.budget import Budget
from elasticranker.planning.plan import Plan, Ranking, SubNet
from elasticranker.planning.words import in_words, percent

if TYPE_CHECKING:
    from elasticranker.display.style import Picture

SHOWN = 10  # rows in a notebook; `table` has all


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """One query's reranking, explained; `ElasticRanker.explain` makes it.

    Attributes:
        query: its text.
        budget: what it might cost.
        plan: how that was spread.
        table: one row a candidate, best first: `docno`, `rank before` and `rank` (from 0), `moved` (places up),
            `scored by` (the last sub-network that did, in words), `GFLOPs` (spent on it), `score`.
        by_subnet: one row a sub-network, cheapest first: `scored last by`, `candidates`, `GFLOPs`.
        full_gflops: what the whole model would have cost.
    """

    query: str
    budget: Budget
    plan: Plan
    table: pd.DataFrame
    by_subnet: pd.DataFrame
    full_gflops: float

    @classmethod
    def of(
        cls, frame: pd.DataFrame, ranking: Ranking, budget: Budget, plan: Plan, full: SubNet, cost: int
    ) -> Explanation:
        """From a query's candidates and what became of them.

        Args:
            frame: rows in incoming order.
            ranking: of these.
            budget: what it might cost.
            plan: how that was spread.
            full: the whole model.
            cost: FLOPs of the whole model on these candidates.
        """
        subnets = [ranking.subnets[index] for index in ranking.order]
        ranks = np.arange(len(subnets))
        table = pd.DataFrame(
            {
                "docno": frame["docno"].to_numpy()[ranking.order],
                "rank before": ranking.order,
                "rank": ranks,
                "moved": ranking.order - ranks,
                "scored by": [in_words(subnet, full.depth) for subnet in subnets],
                "GFLOPs": ranking.spend[ranking.order] / 1e9,
                "score": ranking.scores,
            }
        )
        known = sorted({subnet for subnet in subnets if subnet is not None})
        names = [in_words(subnet, full.depth) for subnet in ([None] if None in subnets else []) + known]
        spent = table.groupby("scored by")["GFLOPs"].agg(["size", "sum"]).loc[names]
        by_subnet = pd.DataFrame(
            {"scored last by": names, "candidates": spent["size"].to_numpy(), "GFLOPs": spent["sum"].to_numpy()}
        )
        return cls(str(frame["query"].iloc[0]), budget, plan, table, by_subnet, cost / 1e9)

    @property
    def gflops(self) -> float:
        """What was spent, 10^9 FLOPs."""
        return float(self.table["GFLOPs"].sum())

    def plot(self) -> Picture:
        """A bump chart: a line a candidate from its incoming rank to its last one, in the colour of what scored it."""
        from elasticranker.display.charts import bump_chart

        names = self.by_subnet["scored last by"].tolist()
        counts = self.by_subnet["candidates"].tolist()
        return bump_chart(
            self.table["rank before"].tolist(),
            self.table["rank"].tolist(),
            [names.index(name) for name in self.table["scored by"]],
            names=[str(docno) for docno in self.table["docno"]],
            labels=[f"{name} ({count})" for name, count in zip(names, counts, strict=True)],
        )

    def __str__(self) -> str:
        return (
            f"“{self.query}” at {self.budget}: {len(self.table)} candidates, {self.gflops:.3g} of "
            f"{self.full_gflops:.3g} GFLOPs spent ({percent(self.gflops / self.full_gflops)}), by the plan {self.plan}"
        )

    def __repr__(self) -> str:
        tables = (self.by_subnet.round(2), self.table.round(3))
        return "\n\n".join([str(self), *(table.to_string(index=False) for table in tables)])

    def _repr_html_(self) -> str:
        from elasticranker.display.html import image, paragraph, table

        rows = [[str(cell) for cell in row] for row in self.table.round(3).head(SHOWN).itertuples(index=False)]
        sums = [[str(cell) for cell in row] for row in self.by_subnet.round(2).itertuples(index=False)]
        parts = [paragraph(str(self)), table([list(self.by_subnet.columns), *sums])]
        parts += [
            image(self.plot()._repr_png_(), "where each candidate moved"),
            table([list(self.table.columns), *rows]),
        ]
        return "".join(parts)
