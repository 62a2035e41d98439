"""Table, figure and report of joint inference on translation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from elasticranker.evaluation.plots import SIGNIFICANT
from elasticranker.evaluation.report import cells, markdown, versions_line
from elasticranker.files import atomic_write
from experiments.joint.training import Size
from experiments.routing_report import draw_routing

SHOWN = ("BLEU", "chrF", "gflops_mean", "ms_mean", "ms_p95")


def table_cells(results: pd.DataFrame) -> list[list[str]]:
    """The table as text for reading, heading row first."""
    targets = [_target(share, within) for share, within in zip(results["share"], results["within"], strict=True)]
    shown = pd.DataFrame({"system": results["system"], "target": targets})
    shown["super_share"] = ["" if pd.isna(share) else f"{share:.0%}" for share in results["super_share"]]
    for name in SHOWN:
        shown[name] = [_rounded(name, value) for value in results[name]]
    shown["over random, chrF"] = ["" if pd.isna(value) else f"{value:+.2f}" for value in results["over_random"]]
    shown["p"] = [
        "" if pd.isna(value) else "<0.001" if value < 0.001 else f"{value:.3f}" for value in results["p_random"]
    ]
    return cells(shown)


def findings(results: pd.DataFrame) -> list[str]:
    """What a reader wants to know first: the cheapest way to Super's quality, and whether energies beat chance."""
    swift, super = results.iloc[0], results.iloc[1]
    lines = [
        f"Super alone: BLEU {super['BLEU']:.1f} at {super['gflops_mean']:.3g} GFLOPs and {super['ms_mean']:.1f} ms; "
        f"Swift alone: {swift['BLEU']:.1f} at {swift['gflops_mean']:.3g} and {swift['ms_mean']:.1f}."
    ]
    for _, row in results[results["within"].notna()].iterrows():
        flops, time = (super[cost] / row[cost] for cost in ("gflops_mean", "ms_mean"))
        lines.append(
            f"{row['system']}, set to stay within {row['within']:g} chrF of Super: BLEU {row['BLEU']:.1f}, chrF "
            f"{row['chrF'] - super['chrF']:+.2f} to Super's, with {flops:.2f} times fewer FLOPs and {time:.2f} times "
            f"less time ({row['super_share']:.0%} to Super)."
        )
    for name, ours in results[results["over_random"].notna() & results["share"].notna()].groupby("system", sort=False):
        sure = (ours["p_random"] < SIGNIFICANT).sum()
        lines.append(
            f"{name}: {ours['over_random'].mean():+.2f} chrF over random routing at equal mean GFLOPs, as the mean "
            f"over the shares (p < {SIGNIFICANT} at {sure} of {len(ours)})."
        )
    return lines


def footnotes(manifest: Mapping[str, Any]) -> list[str]:
    """How to read the table."""
    job, machine = manifest["job"], manifest["measured on"]
    lines = [
        f"{job['languages']}, {manifest['sentences']} test sentences. Thresholds were set on the validation sentences "
        "and are reported on the test sentences.",
        *(_model(name, job, manifest["models"][name]) for name in ("swift", "super")),
        "Small models, trained from scratch on nothing but these pairs: what they show is routing, not translation.",
        "target: a share of the validation sentences for Super, or the cheapest threshold whose mean sentence chrF on "
        "them is so close to Super's; super_share: of the test sentences.",
        "random: mean of 20 draws; oracle: routes by the true gain in sentence chrF, which nobody knows beforehand.",
        "Costs are per sentence, Swift's included: FLOPs as PyTorch counts them, milliseconds of one sentence at a "
        "time with its tokenisation and (Swift's) energy, both models in turn.",
        "over random: mean sentence chrF above what random routing is expected to reach at the same mean GFLOPs; p: "
        "paired t-test of that, Holm-corrected over the table.",
        f"{machine['processor']}, {machine['threads']} threads.",
    ]
    return [*lines, manifest["note"]] if manifest["note"] else lines


def write_report(path: Path, results: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write the report.

    Args:
        path: The Markdown file; figure and files are named relative to its folder.
        results: The table of `run_translate`.
        manifest: What manifest.json holds.
    """
    parts = [
        f"# Joint inference on translation: {manifest['job']['languages']}",
        f"Measured {manifest['date'][:10]}.",
        "\n".join(f"- {line}" for line in findings(results)),
        markdown(table_cells(results)),
        "\n".join(f"- {line}" for line in footnotes(manifest)),
        "![BLEU against GFLOPs and against milliseconds per sentence](joint.png)",
        "Files: `results.csv` (this table with more columns, unrounded), `manifest.json` (versions and settings), "
        "`journal.jsonl` (every sentence's answers, FLOPs and times), `swift/`, `super/` and `tokenizer/`.",
        versions_line(manifest["versions"]),
    ]
    with atomic_write(path) as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def draw(results: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw BLEU against mean GFLOPs and milliseconds, one line a way of routing."""
    draw_routing(results[results["within"].isna()], path, title=title, measure="BLEU", per="sentence")


def _model(name: str, job: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    training = job[f"{name}_training"]
    return (
        f"{name.capitalize()}: a T5 of {Size(**job[name])}, {made['parameters'] / 1e6:.1f} million parameters, "
        f"{training['epochs']} epochs in {training['dtype']}; last loss {made['loss'][-1]['loss']:.2f} (labels "
        "smoothed)."
    )


def _target(share: float, within: float) -> str:
    return f"{share:.0%}" if pd.notna(share) else f"within {within:g}" if pd.notna(within) else ""


def _rounded(name: str, value: float) -> str:
    return f"{value:.3g}" if name.startswith("gflops") else f"{value:.1f}"
