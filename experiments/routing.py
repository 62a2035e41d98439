"""Energy routing against spending the same uniformly: `python -m experiments.routing COLLECTION --output DIR`.

Swift and Super score every query once. From these tables, for every energy: thresholds calibrated on one half of the
queries and reported on the other, and the reverse; beside them the same budget for every query, random routing and an
oracle. Writes results.csv, routing.png, report.md, manifest.json and the journal; a killed measurement goes on where it
was with the same command, and another choice of energies or seed measures nothing again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from elasticranker.evaluation import report
from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.interleaved import Rankings, measure, measured, run_of
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.manifest import machine, today, versions
from elasticranker.evaluation.measures import effectiveness
from elasticranker.evaluation.systems import ranker_settings
from elasticranker.files import (
    atomic_write,
    locked,
    public_name,
    read_json,
    refuse_other_job,
    writable_folder,
    write_json,
)
from elasticranker.frames import in_incoming_order
from elasticranker.routing import query_energies
from elasticranker.routing.costs import Cost, query_costs
from elasticranker.routing.energies import ENERGIES, get_energy
from experiments import routing_report
from experiments.routed import Outcome, routing_table, split_in_halves

if TYPE_CHECKING:
    from elasticranker.collections import Collection

SHARES = (0.1, 0.25, 0.5, 0.75)
TRIED = ("free", "centred", "released", "max-softmax", "entropy", "margin", "std", "two-class-logit")


def run_routing(
    collection: Collection,
    swift: pt.Transformer,
    super: pt.Transformer,
    candidates: Candidates,
    *,
    output: str | Path,
    shares: Sequence[float] = SHARES,
    energies: Sequence[str] = TRIED,
    top_k: int | None = None,
    seed: int = 0,
    rel: int | None = None,
    swift_cost: Cost = None,
    super_cost: Cost = None,
    note: str = "",
    progress: bool = True,
) -> pd.DataFrame:
    """Measure what routing between two rankers buys.

    Args:
        collection: Where the candidates come from.
        swift: Any reranker; an `ElasticRanker` made with `trace=True`, or `pt.Transformer.identity()`.
        super: Any reranker. If it is an `ElasticRanker`, its siblings are the uniform budgets at equal mean cost.
        candidates: What to rerank, from `load_candidates`.
        output: Folder for the results.
        shares: Shares of the queries that Super gets, each between 0 and 1.
        energies: Names of `elasticranker.routing.energies.ENERGIES`, other than "random", which is always there.
        top_k: Take the energy of so many of Swift's best scores; None for all.
        seed: Of the split into halves.
        rel: Lowest label that counts as relevant. Defaults to the collection's own level.
        swift_cost: FLOPs of a black-box Swift, as for `EnergyRouter`.
        super_cost: FLOPs of a black-box Super.
        note: A sentence for the report, such as "reduced corpus: easier than the full one".
        progress: Whether to show a bar on standard error.

    Returns:
        The table of results.csv: see `experiments.routed.routing_table`.

    Raises:
        ValueError: An argument makes no sense, an `ElasticRanker` doesn't trace, or `output` holds another measurement.
        OSError: `output` cannot be written, or another process is writing it.

    Example:
        >>> swift, super = ElasticRanker(budget="5%", trace=True), ElasticRanker(trace=True)
        >>> run_routing(collection, swift, super, load_candidates(collection), output="out")
    """
    for name in energies:
        get_energy(name)
    if not energies or "random" in energies or not shares or not all(0 < share < 1 for share in shares):
        raise ValueError(
            f"energies={list(energies)}, shares={list(shares)}: give one or more of each, shares between 0 and 1; "
            "random routing is always there and is no energy here"
        )
    qids = candidates.frame["qid"].unique().tolist()
    halves = split_in_halves(qids, seed)
    budgets = _uniform_budgets(swift, super, swift_cost, super_cost, candidates.frame, shares)
    systems = {"swift": _measurable(swift, swift_cost, "swift"), "super": _measurable(super, super_cost, "super")}
    systems |= {f"uniform {budget}": super.with_budget(budget) for budget in budgets.values()}  # type: ignore[attr-defined]
    rel = collection.relevance_level() if rel is None else rel
    job = {
        "collection": public_name(collection.name),
        "queries": candidates.queries,
        "queries with candidates": len(qids),
        "candidates": len(candidates.frame),
        "candidates fingerprint": candidates.fingerprint,
        "first stage": candidates.system,
        "swift": _described(swift),
        "super": _described(super),
        "systems": list(systems),
        "relevance level": rel,
        **machine(),
    }
    arguments = {"energies": list(energies), "shares": list(shares), "top_k": top_k, "seed": seed}
    folder = writable_folder(output)
    with locked(folder / "lock", busy=f"another process is writing {folder}; wait for it, or choose another --output"):
        journal, manifest = Journal(folder / "journal.jsonl"), folder / "manifest.json"
        if manifest.exists():
            remedy = f"delete {folder}, or choose another --output"
            refuse_other_job(read_json(manifest)["job"], job, place=folder, remedy=remedy)
        write_json(
            manifest, {"job": job, "arguments": arguments, "note": note, "date": today(), "versions": versions()}
        )
        measure(systems, candidates, journal, progress=progress)
        known = measured(journal)
        highest = max(ranking["load"] for rankings in known.values() for ranking in rankings.values())
        runs = {name: run_of(known[name], candidates) for name in systems}
        outcomes = {name: _outcome(known[name], runs[name], candidates, rel) for name in systems}
        results = routing_table(
            outcomes["swift"],
            outcomes["super"],
            {share: outcomes[f"uniform {budget}"] for share, budget in budgets.items()},
            pd.DataFrame({name: query_energies(runs["swift"], name, top_k) for name in energies}),
            shares=shares,
            halves=halves,
        )
        with atomic_write(folder / "results.csv") as file:
            file.write(results.to_csv(index=False).encode())
        title = f"{job['collection']}, {candidates.queries} queries"
        routing_report.draw_routing(results, folder / "routing.png", title=title)
        write_json(manifest, read_json(manifest) | {"highest load": highest})
        routing_report.write_report(folder / "report.md", results, read_json(manifest))
    return results


class Priced(pt.Transformer):
    """A black box with the column `spend` that the measurement reads, from what it is said to cost."""

    def __init__(self, ranker: pt.Transformer, cost: Cost, role: str) -> None:
        self.ranker, self.cost, self.role = ranker, cost, role

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Rerank one query and spread its cost over its rows."""
        ranked = self.ranker.transform(inp).sort_values("score", ascending=False, kind="stable")
        return ranked.assign(spend=query_costs(self.ranker, self.cost, inp, self.role).sum() / len(ranked))


def _measurable(ranker: pt.Transformer, cost: Cost, role: str) -> pt.Transformer:
    return ranker if cost is None and hasattr(ranker, "full_cost") else Priced(ranker, cost, role)


def _uniform_budgets(
    swift: pt.Transformer,
    super: pt.Transformer,
    swift_cost: Cost,
    super_cost: Cost,
    frame: pd.DataFrame,
    shares: Sequence[float],
) -> dict[float, str]:
    """By share, the budget of equal mean cost for every query; none if Super has no siblings at other budgets."""
    if not hasattr(super, "with_budget") or not hasattr(super, "full_cost"):
        return {}
    light = query_costs(swift, swift_cost, frame, "swift").mean()
    heavy = query_costs(super, super_cost, frame, "super").mean()
    full = super.full_cost(frame).mean()
    return {share: f"{min(100.0, 100 * (light + share * heavy) / full):.4g}%" for share in shares}


def _described(ranker: pt.Transformer) -> dict[str, Any]:
    """What a ranker is, the same in every process (a repr may hold an address)."""
    known = {name: getattr(ranker, name, None) for name in ("budget", "fingerprint", "model_name")}
    settings = ranker_settings(ranker) if hasattr(ranker, "fingerprint") else {}  # type: ignore[arg-type]
    facts = {name: str(value) for name, value in (known | settings).items() if value is not None}
    return {"class": type(ranker).__name__, **facts}


def _outcome(rankings: Rankings, run: pd.DataFrame, candidates: Candidates, rel: int) -> Outcome:
    costs = {qid: (ranking["flops"] / 1e9, ranking["ms"]) for qid, ranking in rankings.items()}
    return Outcome(
        effectiveness(in_incoming_order(run).untied(), candidates.qrels, rel=rel),  # as the router would return it
        pd.DataFrame.from_dict(costs, orient="index", columns=["gflops", "ms"]).reindex(
            candidates.frame["qid"].unique()
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    from elasticranker.cli import guarded
    from elasticranker.commands.resuming import MEASURED

    args = _parser().parse_args(argv)
    return guarded("experiments.routing", lambda: _run(args), resume=MEASURED)


def _run(args: argparse.Namespace) -> None:
    from elasticranker.commands.arguments import make_ranker, read_candidates

    super = make_ranker(args, budget=args.super, trace=True)
    collection, candidates = read_candidates(args, super)
    swift = pt.Transformer.identity() if args.swift == "identity" else super.with_budget(args.swift)
    results = run_routing(
        collection,
        swift,
        super,
        candidates,
        output=args.output,
        shares=args.shares,
        energies=args.energies,
        top_k=args.top_k,
        seed=args.seed,
        rel=args.rel,
        note=args.note,
    )
    manifest = read_json(Path(args.output) / "manifest.json")
    print(report.aligned(routing_report.table_cells(results)))
    print(*routing_report.footnotes(manifest), "", *routing_report.findings(results), sep="\n")
    print(f"\nfigure: {args.output}/routing.png\nreport: {args.output}/report.md, {args.output}/results.csv")


def _parser() -> argparse.ArgumentParser:
    from elasticranker.commands.arguments import (
        add_candidate_arguments,
        add_model_arguments,
        add_result_arguments,
        positive,
    )

    parser = argparse.ArgumentParser(
        prog="python -m experiments.routing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_candidate_arguments(parser)
    parser.add_argument(
        "--swift", default="5%", metavar="BUDGET|identity", help="default: 5%%; identity: the first stage"
    )
    parser.add_argument("--super", default="100%", metavar="BUDGET", help="default: 100%%")
    shares_help = "shares of the queries for Super (default: 10%% 25%% 50%% 75%%)"
    parser.add_argument("--shares", nargs="+", type=_share, default=list(SHARES), metavar="S", help=shares_help)
    names = sorted(set(ENERGIES) - {"random"})
    parser.add_argument("--energies", nargs="+", default=list(TRIED), metavar="E", choices=names, help=", ".join(names))
    parser.add_argument("--top-k", type=positive, metavar="K", help="energies of Swift's K best scores (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the split into halves (default: %(default)s)")
    add_result_arguments(parser)
    add_model_arguments(parser)
    return parser


def _share(text: str) -> float:
    try:
        return float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 25%") from error


if __name__ == "__main__":
    sys.exit(main())
