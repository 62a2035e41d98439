"""What the journal of part A says: the table of runtimes, its ratios, rooflines, and sentences about us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.measures import effectiveness
from experiments.peers.roofline import roofline
from experiments.peers.runtimes import BATCHES, SWEPT_PAIRS
from experiments.peers.systems import DEFAULT_BATCH, FULL, FULL_FLOAT32, PEER_DEFAULT, PEER_FLOAT32, Ours, Peer, System

SAME = 0.995  # of full float32's nDCG@10: a peer below it isn't the same model any more
KEEPS = 0.99  # of full float32's nDCG@10: what a reduced budget should keep
COLUMNS = (
    "system",
    "batch",
    "pairs_per_s",
    "batch_vs_st",
    "batch_vs_best",
    "ms_p50",
    "ms_p95",
    "online_vs_st",
    "online_vs_best",
    "peak_mb",
    "gflops_mean",
    "nDCG@10",
    "RR@10",
)


@dataclass(frozen=True)
class Runtimes:
    """What was measured.

    Attributes:
        table: columns as in `COLUMNS`. `pairs_per_s`: the bench queries together, median of the rounds. `ms_*`: one
            query alone. `*_vs_st`: times as fast as sentence-transformers' default; `*_vs_best`: as the best peer that
            keeps full float32's nDCG@10 within 0.5 %. `peak_mb`: see `memory`. `gflops_mean`: a query's, ours only.
        rooflines: a line a data type of ours.
        notes: what a reader must know, such as a batch size that was chosen.
    """

    table: pd.DataFrame
    rooflines: list[str]
    notes: list[str]


def summary(systems: Sequence[System], candidates: Candidates, journal: Journal, *, rel: int) -> Runtimes:
    """The table, rooflines and notes of what a journal holds."""
    entries = list(journal)
    batches = [entry for entry in entries if entry["part"] == "batch"]
    online = [entry for entry in entries if entry["part"] == "online"]
    told = (entry for entry in entries if entry["part"] == "memory" and entry["mb"] is not None)
    memory = {entry["system"]: entry["mb"] for entry in told}
    rows = []
    for system in systems:
        ms = [entry["systems"][system.name]["ms"] for entry in online]
        rates = [1000 * entry["pairs"] / entry["systems"][system.name]["ms"] for entry in batches]
        flops = [entry["systems"][system.name]["flops"] for entry in online]
        quality = effectiveness(run_of(online, system.name), candidates.qrels, rel=rel).mean()
        row: dict[str, Any] = {"system": system.name, "pairs_per_s": float(np.median(rates))}
        row["batch"] = str(system.batch) if isinstance(system, Peer) and system.takes_batches else ""
        row |= {"ms_p50": float(np.percentile(ms, 50)), "ms_p95": float(np.percentile(ms, 95))}
        row["peak_mb"] = memory.get(system.name, float("nan"))
        row["gflops_mean"] = float("nan") if None in flops else float(np.mean(flops)) / 1e9
        rows.append(row | {name: float(quality[name]) for name in ("nDCG@10", "RR@10")})
    table = with_ratios(pd.DataFrame(rows))
    lines = []
    for name in (FULL_FLOAT32, FULL):
        measured = [entry["systems"][name] for entry in batches]
        achieved = float(np.median([one["flops"] / one["ms"] / 1e6 for one in measured]))
        rates_of: dict[str, float] = {}
        for entry in batches:
            for size, rate in entry["rates"][name].items():
                rates_of[size] = max(rate, rates_of.get(size, 0.0))
        lines.append(roofline(_with_dtype(name, systems), achieved, rates_of))
    return Runtimes(table, lines, _notes(systems, entries, candidates))


def _with_dtype(name: str, systems: Sequence[System]) -> str:
    for system in systems:
        if system.name == name and isinstance(system, Ours) and name == FULL:
            return f"{name} ({str(system.ranker.engine.dtype).removeprefix('torch.')})"
    return name


def run_of(entries: Sequence[dict[str, Any]], name: str) -> pd.DataFrame:
    """The run of one system over the queries of some entries: columns qid, docno, score."""
    rows = [
        (entry["qid"], docno, score)
        for entry in entries
        for docno, score in zip(entry["systems"][name]["docnos"], entry["systems"][name]["scores"], strict=True)
    ]
    return pd.DataFrame(rows, columns=["qid", "docno", "score"])


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its ratio columns: times as fast as sentence-transformers' default and as the best peer.

    The best peer is the fastest, in batch and online apart, whose nDCG@10 is at least 99.5 % of full float32's.
    """
    by_name = table.set_index("system")
    same = _same_quality(by_name)
    rate = by_name["pairs_per_s"].get(PEER_DEFAULT, float("nan"))
    ms = by_name["ms_p50"].get(PEER_DEFAULT, float("nan"))
    made = table.assign(
        batch_vs_st=table["pairs_per_s"] / rate,
        batch_vs_best=table["pairs_per_s"] / same["pairs_per_s"].max(),
        online_vs_st=ms / table["ms_p50"],
        online_vs_best=same["ms_p50"].min() / table["ms_p50"],
    )
    return made[list(COLUMNS)]


def _same_quality(by_name: pd.DataFrame) -> pd.DataFrame:
    """The peers whose nDCG@10 is at least 99.5 % of full float32's."""
    peers = by_name[~by_name.index.str.startswith("ours")]
    return peers[peers["nDCG@10"] >= SAME * by_name["nDCG@10"].loc[FULL_FLOAT32]]


def verdicts(table: pd.DataFrame) -> list[str]:
    """What the table says of us, in sentences: full against the best peer, and the smallest budget that keeps 99 %."""
    by_name = table.set_index("system")
    reference = by_name.loc[FULL_FLOAT32, "nDCG@10"]
    same = _same_quality(by_name)
    lines = []
    if len(same):
        lines.append(
            f"best peer within 0.5 % of full nDCG@10: {same['pairs_per_s'].idxmax()} (batch), "
            f"{same['ms_p50'].idxmin()} (online)"
        )
    elif not by_name.index.str.startswith("ours").all():
        lines.append("no peer keeps nDCG@10 within 0.5 % of full float32's: none is called the best")
    ours = by_name[by_name.index.str.startswith("ours") & (by_name["nDCG@10"] >= KEEPS * reference)]
    named = {FULL: FULL}
    reduced = [name for name in ours.index if name not in (FULL, FULL_FLOAT32)]
    if reduced:
        smallest = min(reduced, key=lambda name: ours.loc[name, "gflops_mean"])
        named[smallest] = f"smallest measured budget that keeps 99 % of full nDCG@10: {smallest}"
    else:
        lines.append("no measured budget below full keeps 99 % of full nDCG@10")
    for name, title in named.items():
        row = by_name.loc[name]
        ratios = [
            f"{row[f'{way}_vs_{other}']:.2f}x {what} ({way})"
            for other, what in (("best", "the best peer"), ("st", "sentence-transformers' default"))
            for way in ("batch", "online")
            if row[f"{way}_vs_{other}"] == row[f"{way}_vs_{other}"]
        ]
        if ratios:
            lines.append(f"{title}: {', '.join(ratios)}; nDCG@10 {row['nDCG@10'] / reference - 1:+.2%} to full float32")
    return lines


def _notes(systems: Sequence[System], entries: list[dict[str, Any]], candidates: Candidates) -> list[str]:
    sizes = candidates.frame.groupby("qid").size()
    pairs = next((entry["pairs"] for entry in entries if entry["part"] == "batch"), 0)
    rounds = sum(entry["part"] == "batch" for entry in entries)
    notes = [
        f"batch: {pairs} pairs together, median of {rounds} rounds; online: {len(sizes)} queries of "
        f"{sizes.median():.0f} candidates (median), one at a time; systems in rotating order after a warm-up",
        "peers' batch sizes are the fastest of " + ", ".join(map(str, BATCHES)) + f" on {SWEPT_PAIRS} pairs",
        "peak MB: highest resident memory of a process that loads the system alone and reranks one query, over what it "
        "held with the libraries imported",
    ]
    names = {system.name for system in systems}
    if PEER_DEFAULT in names and PEER_FLOAT32 not in names:
        notes.append(f"sentence-transformers' default batch size, {DEFAULT_BATCH}, was its best too: one row")
    if any(name.startswith("flashrank") for name in names):
        notes.append(
            "FlashRank takes a query's passages as one batch, and its scores are float32 sigmoids, which may tie"
        )
    sittings = {entry["sitting"] for entry in entries if entry["part"] in ("batch", "online")}
    if len(sittings) > 1:
        notes.append(f"measured in {len(sittings)} sittings")
    return notes
