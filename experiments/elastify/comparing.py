"""One cross-encoder three times: elastic, as it is under SEE's filter, as it is with fixed top-k.

The last two are plans that our engine runs too, so that they differ from the elastic one in what they score alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import nn

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.comparing import run_tradeoff
from elasticranker.evaluation.systems import named_systems
from elasticranker.files import atomic_write, new_folder
from elasticranker.model.checkpoint import load
from elasticranker.ranker import ElasticRanker

if TYPE_CHECKING:
    from elasticranker.collections import Collection

ELASTIC, SEE, TOP_K, FULL = "elastic", "SEE", "top-k", "100%"
MEASURES = ("nDCG@10", "RR@10")
KEPT, NEAR = 0.97, 0.005  # of the original's nDCG@10 at 25 %, and how near full should be


def compare(
    collection: Collection,
    elastic: ElasticRanker,
    original: str,
    candidates: Candidates,
    *,
    output: str | Path,
    budgets: Sequence[str],
    rel: int | None = None,
    note: str = "",
    arguments: Mapping[str, Any] | None = None,
) -> list[str]:
    """Measure all three at every budget, in turn; goes on where it was when called again.

    Args:
        collection: where the candidates come from.
        elastic: the elastic checkpoint, with `trace=True`.
        original: the cross-encoder that it was made of.
        candidates: what to rerank, without queries that the ladder was tuned on.
        output: folder for what `run_tradeoff` writes, verdicts.md, and a copy of the original without its filter.
        budgets: below full, which is measured in any case.
        rel: lowest relevant label; by default the collection's own.
        note: a sentence for the report.
        arguments: what the user asked for.

    Returns:
        Sentences that say where the elastic one stands.
    """
    rankers = {ELASTIC: elastic} | {
        name: ElasticRanker(str(model), budget="full", dtype=elastic.dtype, trace=True)
        for name, model in ((SEE, original), (TOP_K, without_filter(original, Path(output) / "top-k")))
    }
    systems: dict[str, ElasticRanker] = {}
    for name, ranker in rankers.items():
        systems |= named_systems(ranker, [FULL, *budgets], name)
    compared = run_tradeoff(
        candidates,
        systems,
        measures=MEASURES,
        rel=collection.relevance_level() if rel is None else rel,
        folder=output,
        title=collection.name,
        note=note,
        arguments=arguments,
    )
    found = verdicts(compared.table, budgets)
    with atomic_write(Path(output) / "verdicts.md") as file:
        file.write("".join(f"- {line}\n" for line in found).encode())
    return found


def without_filter(original: str, folder: Path) -> Path:
    """A copy of a cross-encoder with its last exit alone: a budget buys its first candidates, and no others."""
    if not folder.exists():
        made = load(original)
        depth = str(made.encoder.shape.layers)
        made.encoder.exits = nn.ModuleDict({depth: made.encoder.exits[depth]})
        with new_folder(folder) as place:
            replace(made, calibration=type(made.calibration)()).save(place)
    return folder


def verdicts(table: pd.DataFrame, budgets: Sequence[str]) -> list[str]:
    """What the table says of the elastic one: at full, at 25 %, and against the two others at every budget."""
    at = table.set_index(["system", "budget"])[list(MEASURES)]
    full = at.loc[SEE, FULL]
    moved = at.loc[ELASTIC, FULL] - full
    near = "within" if moved.abs().max() <= NEAR else "NOT within"
    lines = [
        f"full is {near} {NEAR} of the original: nDCG@10 {moved['nDCG@10']:+.4f}, RR@10 {moved['RR@10']:+.4f} "
        f"({full['nDCG@10']:.4f}, {full['RR@10']:.4f})"
    ]
    for budget in budgets:
        own = at.loc[ELASTIC, budget]
        share = own["nDCG@10"] / full["nDCG@10"]
        goal = "" if budget != "25%" else f" ({'reached' if share >= KEPT else 'NOT reached'}: {KEPT:.0%})"
        others = [
            f"{'above' if (own > at.loc[other, budget]).all() else 'NOT above'} {other} "
            f"({at.loc[other, budget]['nDCG@10']:.4f}, {at.loc[other, budget]['RR@10']:.4f})"
            for other in (SEE, TOP_K)
        ]
        lines.append(
            f"{budget}: nDCG@10 {own['nDCG@10']:.4f}, {share:.1%} of the original's full{goal}, RR@10 "
            f"{own['RR@10']:.4f}; {', '.join(others)}"
        )
    return lines
