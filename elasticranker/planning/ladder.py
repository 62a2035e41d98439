"""The ladder: the plans that are worth their cost, from the cheapest to the whole model, stored with a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elasticranker.planning.plan import Plan, Stage, SubNet, even
from elasticranker.planning.words import percent

if TYPE_CHECKING:
    import pandas as pd

    from elasticranker.display.style import Picture


@dataclass(frozen=True)
class Rung:
    """A plan and the share of the full cost that it was tuned for, with the quality that tuning measured there."""

    share: float
    plan: Plan
    quality: float | None = None


@dataclass(frozen=True, repr=False)
class Ladder:
    """Rungs by rising share.

    Attributes:
        rungs: at least one.
        full: the whole model; a budget of 100 % runs nothing else.

    Example:
        >>> ladder = untuned([SubNet(0), SubNet(12)])
        >>> str(ladder.plan(1.0))
        '12:100%'
    """

    rungs: tuple[Rung, ...]
    full: SubNet

    def __post_init__(self) -> None:
        shares = [rung.share for rung in self.rungs]
        if not shares or shares != sorted(set(shares)) or shares[0] <= 0 or shares[-1] > 1:
            raise ValueError(f"a ladder's shares must rise and lie above 0 and at most at 1, not {shares}")

    def plan(self, share: float) -> Plan:
        """The plan for a budget of `share` of the full cost.

        Between two rungs of the same sub-networks, shares and priors are interpolated (linearly in the logarithm of the
        budget); otherwise the nearer rung's plan is taken: a plan's shares are relative, so it fits any budget.
        """
        if share >= 1:
            return Plan((Stage(self.full, 1.0),))
        below = [rung for rung in self.rungs if rung.share <= share]
        above = [rung for rung in self.rungs if rung.share > share]
        if not below or not above:
            return (below[-1] if below else above[0]).plan
        low, high = below[-1], above[0]
        part = math.log(share / low.share) / math.log(high.share / low.share)
        if [s.subnet for s in low.plan.stages] != [s.subnet for s in high.plan.stages]:
            return (low if part < 0.5 else high).plan
        return Plan(
            tuple(
                Stage(a.subnet, a.share + part * (b.share - a.share), a.prior + part * (b.prior - a.prior))
                for a, b in zip(low.plan.stages, high.plan.stages, strict=True)
            )
        )

    @property
    def widths(self) -> list[float]:
        """Every width that its plans use, ascending; the full one is always among them."""
        return sorted({self.full.width} | {stage.subnet.width for rung in self.rungs for stage in rung.plan.stages})

    def table(self) -> pd.DataFrame:
        """One row a rung: `budget` (share), `plan`, `quality`."""
        import pandas as pd

        rows = [(f"{rung.share:.3g}", str(rung.plan), rung.quality) for rung in self.rungs]
        return pd.DataFrame(rows, columns=["budget", "plan", "quality"])

    def __repr__(self) -> str:
        return self.table().to_string(index=False, na_rep="")

    def plot(self) -> Picture:
        """Quality against budget, a point a rung."""
        from elasticranker.display.charts import ladder_chart

        return ladder_chart([rung.share for rung in self.rungs], [rung.quality for rung in self.rungs])

    def _repr_html_(self) -> str:
        from elasticranker.display.html import image, table

        rows = [
            ["budget", "plan, as stages of depth[xwidth][@tokens]:share of the budget[+weight of the incoming score]"]
        ]
        rows[0].append("quality")
        for rung in self.rungs:
            quality = "" if rung.quality is None else f"{rung.quality:.4f}"
            rows.append([percent(rung.share), str(rung.plan), quality])
        picture = image(self.plot()._repr_png_(), "quality against budget, a point a rung")
        return picture + table(rows)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain lists and numbers, for `elastic.json`."""
        return [
            {
                "share": rung.share,
                "quality": rung.quality,
                "stages": [s.subnet.to_json() | {"share": s.share, "prior": s.prior} for s in rung.plan.stages],
            }
            for rung in self.rungs
        ]

    @classmethod
    def from_json(cls, rungs: list[dict[str, Any]], full: SubNet) -> Ladder:
        """What `to_json` wrote.

        Raises:
            ValueError: not of that form.
        """
        try:
            return cls(
                tuple(
                    Rung(
                        float(rung["share"]),
                        Plan(
                            tuple(
                                Stage(SubNet.from_json(s), float(s["share"]), float(s["prior"])) for s in rung["stages"]
                            )
                        ),
                        rung.get("quality"),
                    )
                    for rung in rungs
                ),
                full,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the ladder in elastic.json is malformed ({type(error).__name__}: {error})") from error


def untuned(subnets: Sequence[SubNet], prior: float = 1.0) -> Ladder:
    """A ladder of one plan, for checkpoints that nobody tuned.

    Args:
        subnets: what the checkpoint holds, the whole model among them. A checkpoint with only embeddings and full depth
            gets the training-free filter of *Similarity-based Early Exit* (Busolin et al. 2025): all candidates by the
            similarity of embedding-layer states mixed with the incoming score, the best of them by the whole model.
        prior: weight of the incoming score in stages below the last.
    """
    wide = sorted(s for s in subnets if s.width == 1 and s.tokens is None)
    full = wide[-1]
    if len(wide) <= 2:
        chosen = wide
    else:
        middle = min(wide, key=lambda s: abs(s.depth - full.depth / 6))
        chosen = [s for s in wide if s.depth == 0] + [middle, full]
    plan = even(sorted(set(chosen)), prior)
    return Ladder((Rung(1.0, plan),), full)
