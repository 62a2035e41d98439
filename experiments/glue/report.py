"""Table, figure and report of elastic encoders on GLUE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from elasticranker.display.style import BLUE, VERMILION, cost_axis, picture
from elasticranker.evaluation.report import cells, markdown, versions_line
from elasticranker.files import atomic_write

WIDTHS = {1.0: {"color": BLUE, "marker": "o"}, 0.5: {"color": VERMILION, "marker": "s"}}
EVERY = ("accuracy", "F1", "Matthews", "Pearson", "Spearman")
STATIC = {"color": "black", "marker": "D", "linestyle": "", "markersize": 7}


def averages(results: pd.DataFrame) -> pd.DataFrame:
    """One row a system, depth and width that every task has: scores by task, their mean, and mean costs.

    Args:
        results: the table of `run_report`.
    """
    keys = ["system", "depth", "width"]
    scores = results.pivot(index=keys, columns="task", values="score")[list(dict.fromkeys(results["task"]))]
    costs = results.groupby(keys)[["gflops_mean", "ms_mean"]].mean()
    table = scores.assign(average=scores.mean(axis=1)).join(costs).dropna().reset_index()
    first = (table["system"] != "elastic").rename("later")
    return (
        table.assign(later=first)
        .sort_values(["later", "width", "depth"], ascending=[True, False, True])
        .drop(columns="later")
    )


def table_cells(results: pd.DataFrame) -> list[list[str]]:
    """Scores times 100 by task, and costs, as text for reading; heading row first."""
    table = averages(results)
    shown = table[["system"]].assign(depth=table["depth"].astype(str), width=[f"{width:g}" for width in table["width"]])
    for name in [*dict.fromkeys(results["task"]), "average"]:
        shown[name] = [f"{100 * value:.1f}" for value in table[name]]
    shown["GFLOPs"] = [f"{value:.3g}" for value in table["gflops_mean"]]
    shown["ms"] = [f"{value:.1f}" for value in table["ms_mean"]]
    return cells(shown)


def measure_cells(results: pd.DataFrame) -> list[list[str]]:
    """Every measure times 100, of the whole elastic model and of each depth that was trained alone."""
    alone = results[results["system"] != "elastic"]["depth"].unique()
    elastic = (results["system"] == "elastic") & (results["width"] == 1.0)
    depths = [*alone, results["depth"].max()]
    chosen = results[(results["system"] != "elastic") | (elastic & results["depth"].isin(depths))]
    shown = chosen[["task", "system"]].assign(depth=chosen["depth"].astype(str))
    for name in (name for name in EVERY if name in results):
        shown[name] = ["" if pd.isna(value) else f"{100 * value:.1f}" for value in chosen[name]]
    return cells(shown)


def findings(results: pd.DataFrame) -> list[str]:
    """What a reader wants to know first: elastic depths against models of that depth alone, and the whole model."""
    table = averages(results)
    elastic = table[(table["system"] == "elastic") & (table["width"] == 1.0)].set_index("depth")
    lines = []
    for _, row in table[table["system"] != "elastic"].iterrows():
        ours = elastic.loc[row["depth"]]
        tasks = list(dict.fromkeys(results["task"]))
        gaps = {task: 100 * (ours[task] - row[task]) for task in tasks}
        ahead = 100 * (ours["average"] - row["average"])
        lines.append(
            f"Depth {row['depth']}: the elastic model's {100 * ours['average']:.1f} on average against "
            f"{100 * row['average']:.1f} of a model of that depth alone ({ahead:+.1f}; "
            + ", ".join(f"{task} {gap:+.1f}" for task, gap in gaps.items())
            + ")."
        )
    full = elastic.loc[elastic.index.max()]
    lines.append(f"The whole model ({elastic.index.max()} layers): {100 * full['average']:.1f} on average.")
    return lines


def footnotes(manifest: Mapping[str, Any]) -> list[str]:
    """How to read the tables."""
    tasks, machine = manifest["tasks"], manifest["measured on"]
    lines = []
    for name, about in tasks.items():
        split = {"dev": "the development set", "dev-from-train": "held-out training lines, not GLUE's development set"}
        on = split.get(about["reported"], about["reported"])
        lines.append(
            f"{name}: {' and '.join(about['measures'])}; trained on {about['examples']:,} examples in "
            f"{about['recipe']['steps']:,} steps of {about['recipe']['batch_size']}, reported on {on} "
            f"({about['reported examples']:,}); minutes of training: "
            + ", ".join(f"{system} {minutes:g}" for system, minutes in about["minutes"].items())
            + "."
        )
    first = next(iter(tasks.values()))
    return [
        "Scores are GLUE's, times 100; a task with two measures has their mean. One recipe for all tasks, the averaged "
        "weights of the last step: no checkpoint was chosen on what is reported.",
        f"elastic: one model a task, from {first['backbone']}, whose every depth and width was trained at once; "
        "static-N: the backbone's first N layers, fine-tuned alone with the same steps. Single runs: differences of a "
        "point may be chance.",
        *lines,
        "Costs are means over the tasks: GFLOPs of a sentence (or pair) as PyTorch counts them, milliseconds of one at "
        f"a time with its tokenisation, all models in turn, over {manifest['timed']} examples of each task.",
        f"{machine['processor']}, {machine['threads']} threads.",
        *([manifest["note"]] if manifest["note"] else []),
    ]


def write_report(path: Path, results: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write the report.

    Args:
        path: the Markdown file; figure and files are named relative to its folder.
        results: the table of `run_report`.
        manifest: what manifest.json holds.
    """
    parts = [
        "# Elastic encoders on GLUE",
        f"Measured {manifest['date'][:10]}.",
        "\n".join(f"- {line}" for line in findings(results)),
        markdown(table_cells(results)),
        "Every measure, times 100:",
        markdown(measure_cells(results)),
        "\n".join(f"- {line}" for line in footnotes(manifest)),
        "![Score against GFLOPs per sentence, by task](glue.png)",
        "Files: `results.csv` (every depth and width by task, unrounded), `manifest.json` (versions and settings), and "
        "by task every model, its logits (`answers.safetensors`) and `times.jsonl`.",
        versions_line(manifest["versions"]),
    ]
    with atomic_write(path) as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def draw(results: pd.DataFrame, path: Path) -> None:
    """Draw scores against GFLOPs, one panel a task."""
    tasks = list(dict.fromkeys(results["task"]))
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    with picture(8, 0.8 + 2.6 * rows, title="GLUE score by depth") as figure:
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, name in zip(panels, tasks, strict=False):
            ours = results[results["task"] == name]
            for width, look in WIDTHS.items():
                line = ours[(ours["system"] == "elastic") & (ours["width"] == width)].sort_values("depth")
                axes.plot(line["gflops_mean"], 100 * line["score"], label=f"elastic, width {width:g}", **look)
            alone = ours[ours["system"] != "elastic"]
            axes.plot(alone["gflops_mean"], 100 * alone["score"], label="of one depth, alone", **STATIC)
            axes.set_title(name, loc="left")
            cost_axis(axes, "GFLOPs a text")
        for axes in panels[len(tasks) :]:  # what is left of the grid
            axes.set_visible(False)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.save(path)
