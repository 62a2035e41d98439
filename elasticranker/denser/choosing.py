"""Which sub-network a budget affords: of each query its own, of all documents one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from elasticranker.model.pairs import round_up
from elasticranker.model.speed import TIME_MARGIN
from elasticranker.planning.budget import Budget
from elasticranker.planning.dense import best_within
from elasticranker.planning.plan import SubNet

if TYPE_CHECKING:
    from elasticranker.model.dense import LoadedDense

TYPICAL = 16  # tokens of a query, for tables


@dataclass(frozen=True)
class Choice:
    """Prices of a loaded checkpoint's sub-networks, and what budgets afford of them."""

    loaded: LoadedDense

    @property
    def full(self) -> SubNet:
        """The whole model."""
        return SubNet(self.loaded.checkpoint.encoder.shape.layers)

    def price(self, row: np.ndarray, subnet: SubNet) -> int:
        """FLOPs of a tokenised text."""
        return self.loaded.checkpoint.cost.vector(round_up(len(row)), subnet.depth, subnet.width)

    def for_query(self, row: np.ndarray, budget: Budget) -> SubNet:
        """The best sub-network that a budget affords for a tokenised query.

        Raises:
            ValueError: it affords none.
        """
        if budget.is_full:
            return self.full
        subnets = self.loaded.subnets
        if budget.kind == "share":
            allowed = budget.value * self.price(row, self.full)
        elif budget.kind == "flops":
            allowed = budget.value
        else:  # what FLOPs take was measured at full width
            subnets = tuple(subnet for subnet in subnets if subnet.width == 1)
            allowed = self.loaded.speed.flops_in(TIME_MARGIN * budget.value)
        chosen = best_within(subnets, lambda subnet: self.price(row, subnet), allowed)
        if chosen is None:
            raise ValueError(
                f"budget={str(budget)!r} is too small for a query of {len(row)} tokens: {self._cheapest()}"
            )
        return chosen

    def for_documents(self, budget: Budget) -> SubNet:
        """The best sub-network whose cost is within a share of the whole model's, however long a document is.

        Raises:
            ValueError: there is none.
        """
        cost, full = self.loaded.checkpoint.cost, self.full
        sizes = range(round_up(1), round_up(self.loaded.documents.longest) + 1, round_up(1))
        for subnet in self.loaded.subnets:
            prices = ((cost.vector(n, subnet.depth, subnet.width), cost.vector(n, full.depth, 1.0)) for n in sizes)
            if all(own <= budget.value * whole for own, whole in prices):
                return subnet
        raise ValueError(f"doc_budget={str(budget)!r}: {self._cheapest()}")

    def table(self) -> pd.DataFrame:
        """Every sub-network, best first: `depth`, `width`, and of a query of 16 tokens `flops` and `share`."""
        cost, subnets = self.loaded.checkpoint.cost, self.loaded.subnets
        prices = [cost.vector(TYPICAL, subnet.depth, subnet.width) for subnet in subnets]
        whole = cost.vector(TYPICAL, self.full.depth, 1.0)
        depths, widths = [subnet.depth for subnet in subnets], [subnet.width for subnet in subnets]
        shares = [price / whole for price in prices]
        return pd.DataFrame({"depth": depths, "width": widths, "flops": prices, "share": shares})

    def _cheapest(self) -> str:
        """What there is instead of a budget that affords nothing."""
        least = self.table().sort_values("flops").iloc[0]
        return (
            f"the cheapest sub-network that makes vectors, {SubNet(int(least['depth']), float(least['width']))}, costs "
            f"{least['flops'] / 1e6:.3g} MFLOPs for {TYPICAL} tokens, {least['share']:.2%} of the whole model; give a "
            "larger budget, or a checkpoint with smaller exits"
        )
