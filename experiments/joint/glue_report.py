"""Table, figures and report of joint inference on GLUE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.plots import SIGNIFICANT
from elasticranker.evaluation.report import cells, markdown, versions_line
from elasticranker.files import atomic_write
from experiments.routing_report import draw_routing

AVERAGED = ["super_share", "score", "gflops_mean", "ms_mean", "over_random"]
ALIKE = 0.005  # of a share or a score


def merged(results: pd.DataFrame) -> pd.DataFrame:
    """The table with one row instead of several where energies route alike, as they do between two classes.

    Energies of one Swift that nowhere differ by more than `ALIKE` in the share for Super or the score are told once,
    under all their names.

    Args:
        results: the table of `run_glue`.
    """
    parts = []
    for _, ours in results.groupby("model", sort=False):
        energies = dict.fromkeys(ours.loc[ours["over_random"].notna(), "system"])
        told: dict[str, list[str]] = {}  # the first of those that are alike, and all of them
        for name in energies:
            figures = ours.loc[ours["system"] == name, ["super_share", "score"]].to_numpy()
            same = (
                first
                for first in told
                if np.allclose(ours.loc[ours["system"] == first, ["super_share", "score"]], figures, rtol=0, atol=ALIKE)
            )
            told.setdefault(next(same, name), []).append(name)
        names = {first: ", ".join(all_names) for first, all_names in told.items()}
        kept = ours[~ours["system"].isin(energies.keys() - names.keys())]
        parts.append(kept.assign(system=kept["system"].replace(names)))
    return pd.concat(parts, ignore_index=True)


def averages(results: pd.DataFrame, model: str) -> pd.DataFrame:
    """Means over the tasks of one Swift's rows, in their order; `score` times 100.

    Args:
        results: the table of `run_glue`.
        model: name of the Swift.
    """
    ours = results[results["model"] == model]
    table = ours.groupby(["system", "share", "within"], dropna=False, sort=False)[AVERAGED].mean().reset_index()
    return table.assign(score=100 * table["score"])


def table_cells(results: pd.DataFrame) -> list[list[str]]:
    """Means over the tasks of every Swift's rows, as text for reading; heading row first."""
    tables = []
    for model in dict.fromkeys(results["model"]):
        table = averages(results, model)
        super = table.iloc[1]
        shown = pd.DataFrame({"Swift": model, "routing": table["system"].replace({"swift": "all to Swift"})})
        shown["routing"] = shown["routing"].replace({"super": "all to Super"})
        shown["target"] = [
            _target(share, within) for share, within in zip(table["share"], table["within"], strict=True)
        ]
        shown["share to Super"] = ["" if pd.isna(share) else f"{share:.0%}" for share in table["super_share"]]
        shown["score"] = [f"{value:.1f}" for value in table["score"]]
        shown["over Super"] = [f"{value - super['score']:+.1f}" for value in table["score"]]
        shown["GFLOPs"] = [f"{value:.3g}" for value in table["gflops_mean"]]
        shown["fewer FLOPs"] = [f"{super['gflops_mean'] / value:.2f}x" for value in table["gflops_mean"]]
        shown["ms"] = [f"{value:.1f}" for value in table["ms_mean"]]
        shown["accuracy over random"] = [
            "" if pd.isna(value) else f"{100 * value:+.2f}" for value in table["over_random"]
        ]
        tables.append(shown)
    return cells(pd.concat(tables, ignore_index=True))


def within_cells(results: pd.DataFrame) -> list[list[str]]:
    """Task by task: what staying close to Super costs, by energy, and whether it was reached on the other half."""
    rows = []
    for row, super in _within(results):
        rows.append(
            {
                "task": row["task"],
                "Swift": row["model"],
                "energy": row["system"],
                "share to Super": f"{row['super_share']:.0%}",
                "score": f"{100 * row['score']:.1f}",
                "over Super": f"{100 * (row['score'] - super['score']):+.1f}",
                "fewer FLOPs": f"{super['gflops_mean'] / row['gflops_mean']:.2f}x",
                "less time": f"{super['ms_mean'] / row['ms_mean']:.2f}x",
                "p, over random": "" if pd.isna(row["p_random"]) else _p(row["p_random"]),
            }
        )
    return cells(pd.DataFrame(rows))


def findings(results: pd.DataFrame, tolerance: float) -> list[str]:
    """What a reader wants to know first: does an energy keep Super's quality at less cost, and where doesn't it?"""
    lines, points = [], 100 * tolerance
    for model in dict.fromkeys(results["model"]):
        table = averages(results, model)
        swift, super = table.iloc[0], table.iloc[1]
        lines.append(
            f"{model} as Swift: {swift['score']:.1f} on average at {swift['gflops_mean']:.3g} GFLOPs and "
            f"{swift['ms_mean']:.1f} ms; Super {super['score']:.1f} at {super['gflops_mean']:.3g} and "
            f"{super['ms_mean']:.1f}."
        )
        for _, row in table[table["within"].notna()].iterrows():
            theirs = [(one, other) for one, other in _within(results) if _same(one, model, row["system"])]
            short = [one["task"] for one, other in theirs if 100 * (one["score"] - other["score"]) < -points - 1e-9]
            dear = [one["task"] for one, other in theirs if other["gflops_mean"] < 2 * one["gflops_mean"]]
            lines.append(
                f"{model}, {row['system']}, set to stay within {points:g} points of Super's accuracy: "
                f"{row['score'] - super['score']:+.1f} to Super's score with "
                f"{super['gflops_mean'] / row['gflops_mean']:.2f} times fewer FLOPs and "
                f"{super['ms_mean'] / row['ms_mean']:.2f} times less time ({row['super_share']:.0%} to Super)"
                + (f"; further below on {', '.join(short)}" if short else "")
                + (f"; less than twice fewer FLOPs on {', '.join(dear)}" if dear else "")
                + "."
            )
        ours = results[(results["model"] == model) & results["share"].notna() & results["over_random"].notna()]
        for name, rows in ours.groupby("system", sort=False):
            sure = (rows["p_random"] < SIGNIFICANT).sum()
            lines.append(
                f"{model}, {name}: {100 * rows['over_random'].mean():+.2f} points of accuracy over random routing at "
                f"equal mean GFLOPs, as the mean over tasks and shares (p < {SIGNIFICANT} at {sure} of {len(rows)})."
            )
    return lines


def footnotes(manifest: Mapping[str, Any]) -> list[str]:
    """How to read the tables."""
    machine = manifest["measured on"]
    tasks = ", ".join(f"{name} {about['reported examples']:,}" for name, about in manifest["tasks"].items())
    held = [name for name, about in manifest["tasks"].items() if about["reported"] != "dev"]
    return [
        f"Examples that are reported on: {tasks}. In two halves: thresholds set on one, reported on the other, and the "
        "reverse. Scores are GLUE's, times 100, of both halves together.",
        *([f"{', '.join(held)}: held-out training lines, not GLUE's development set."] if held else []),
        "Super: the whole elastic classifier. exit-N: the same classifier after N layers; to Super it is a black box, "
        "which starts from the text again. Other Swifts are fine-tuned with the same examples and steps.",
        "target: a share of the one half for Super, or the cheapest threshold whose accuracy on it is so close to "
        "Super's; share to Super: of what is reported; over Super: the score less Super's.",
        "free: the paper's energy, over logits; released: what its authors' demo thresholds, over probabilities. For "
        "two classes released, max-softmax and entropy order inputs alike; so does free where a head started at zero, "
        "since its two logits stay each other's opposite. Energies that route alike are told in one row.",
        "random: mean of 20 draws; oracle: routes by the true gain, which nobody knows beforehand.",
        "Costs are per input, Swift's included: FLOPs as PyTorch counts them, milliseconds of one input at a time with "
        "its tokenisation and (Swift's) energy, both models in turn.",
        "over random: accuracy above what random routing is expected to reach at the same mean GFLOPs; p: paired "
        "t-test of that, Holm-corrected over the rows of a task and Swift.",
        f"{machine['processor']}, {machine['threads']} threads.",
        *([manifest["note"]] if manifest["note"] else []),
    ]


def write_report(path: Path, results: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write the report.

    Args:
        path: the Markdown file; figures and files are named relative to its folder.
        results: the table of `run_glue`.
        manifest: what manifest.json holds.
    """
    results = merged(results)
    parts = [
        "# Joint inference on GLUE",
        f"Measured {manifest['date'][:10]}.",
        "\n".join(f"- {line}" for line in findings(results, manifest["tolerance"])),
        "Means over the tasks:",
        markdown(table_cells(results)),
        f"Set to stay within {100 * manifest['tolerance']:g} points of Super's accuracy, task by task:",
        markdown(within_cells(results)),
        "\n".join(f"- {line}" for line in footnotes(manifest)),
        *(
            f"![Score against GFLOPs and milliseconds, {model} as Swift](joint-{model}.png)"
            for model in manifest["swifts"]
        ),
        "Files: `results.csv` (every task, with more columns, unrounded), `manifest.json` (versions and settings), and "
        "by task and Swift `journal.jsonl` (every example's answers, energies, FLOPs and times).",
        versions_line(manifest["versions"]),
    ]
    with atomic_write(path) as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def draw(results: pd.DataFrame, folder: Path) -> None:
    """Draw, for each Swift, the mean score over the tasks against mean GFLOPs and milliseconds."""
    tasks = ", ".join(dict.fromkeys(results["task"]))
    for model in dict.fromkeys(results["model"]):
        table = averages(results, model)
        path = folder / f"joint-{model}.png"
        title = f"Mean of {tasks}; {model} as Swift"
        draw_routing(table[table["within"].isna()], path, title=title, measure="score", per="input")


def _within(results: pd.DataFrame) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Rows of the targets of quality, each with Super's."""
    for _, ours in results.groupby(["task", "model"], sort=False):
        super = ours[ours["system"] == "super"].iloc[0]
        for _, row in ours[ours["within"].notna()].iterrows():
            yield row, super


def _same(row: pd.Series, model: str, system: str) -> bool:
    return bool(row["model"] == model and row["system"] == system)


def _target(share: float, within: float) -> str:
    return f"{share:.0%}" if pd.notna(share) else f"within {100 * within:g}" if pd.notna(within) else ""


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
