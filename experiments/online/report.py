"""Tables, figures and the report of a results folder, from whatever parts are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from elasticranker.evaluation.report import markdown, versions_line
from elasticranker.files import atomic_write
from experiments.online.figure import draw_online
from experiments.online.folder import MEASURED, REPLICAS, SIMULATED, ResultsFolder

COUNTS = ("requests", "rejects", "failed", "unanswered", "replicas")


def table_cells(table: pd.DataFrame) -> list[list[str]]:
    """A table as text, heading row first: percentiles in milliseconds, ">=" before those that are lower bounds.

    Columns of nothing but zeros or a single kind of arrivals' name are left out.
    """
    shown = [name for name in table.columns if name != "at_least" and not _says_nothing(table, name)]
    bounds = table["at_least"].astype(bool) if "at_least" in table else pd.Series(False, index=table.index)
    rows = [[_heading(name) for name in shown]]
    for bound, record in zip(bounds, table[shown].to_dict("records"), strict=True):
        rows.append([_cell(str(name), value, bound) for name, value in record.items()])
    return rows


def _says_nothing(table: pd.DataFrame, name: str) -> bool:
    if name == "arrivals":
        return table[name].nunique() < 2
    return name in ("failed", "unanswered") and not table[name].any()


def _heading(name: str) -> str:
    names = {"load": "load", "rate": "requests/s", "within": "in time", "budget": "mean budget"}
    return f"{name} ms" if name in ("p50", "p95", "p99") else names.get(name, name)


def _cell(name: str, value: Any, bound: bool) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    if name in ("p50", "p95", "p99"):
        return f"{'>= ' if bound else ''}{value:.0f}"
    if name in COUNTS:
        return f"{value:.0f}"
    if name in ("within", "budget"):
        return f"{value:.1%}"
    if name == "load":
        return f"{value:g}x"
    return f"{value:.3g}" if name == "rate" and value < 1000 else f"{value:.0f}" if name == "rate" else f"{value:.4f}"


def footnotes(manifest: Mapping[str, Any]) -> list[str]:
    """How to read the tables."""
    job = manifest["job"]
    lines = [
        f"{job['queries with candidates']} queries of {job['collection']}, "
        f"{job['candidates'] / job['queries with candidates']:.0f} candidates each ({job['first stage']}); a document "
        f"is relevant from label {job['relevance level']} (RR).",
        "Load: multiples of what the full model sustains, one query after the other. In time: of all requests, those "
        "answered within the objective. Latencies of accepted requests, quality and budget of answered ones.",
    ]
    if "simulate" in manifest:
        part = manifest["simulate"]
        lines.append(
            f"Simulated: runs of {part['seconds']:g} s from an idle server, answered to the end; objective "
            f"{1e3 * part['slo']:.0f} ms, the full model takes {1e3 * part['full_seconds']:.0f} ms. Service times are "
            'those measured at each rung, one query at a time. "elastic, greedy" gives each request the largest rung '
            "that fits, and leaves no room for the next."
        )
    if "load" in manifest:
        part, settings = manifest["load"], manifest["load"]["settings"]
        lines.append(
            f"Measured: the real server on loopback, a fresh process a row, open-loop {settings['arrivals']} arrivals "
            f"for {settings['seconds']:g} s, latency from the scheduled time; objective {1e3 * part['slo']:.0f} ms, an "
            f"unloaded request in full takes {1e3 * part['full_seconds']:.0f} ms. The client runs on the same cores. "
            f"After {settings['drain']:g} s more, unanswered requests count with the time that they had waited: such "
            'percentiles are lower bounds (">=").'
        )
    lines.append(
        f"{job['processor']}, {job['cores']} cores, {job['threads']} threads, dtype {job['dtype']}; checkpoint "
        f"{job['checkpoint fingerprint'][:12]}."
    )
    return [*lines, manifest["note"]] if manifest["note"] else lines


def write(folder: ResultsFolder) -> None:
    """Draw a figure a kind of arrivals and write report.md, from the parts that the folder holds."""
    manifest = folder.manifest
    simulated, plan, measured = folder.read(SIMULATED), folder.read(REPLICAS), folder.read(MEASURED)
    for stale in folder.path.glob("online-*.png"):
        stale.unlink()
    figures = _draw(folder.path, manifest, simulated, measured)
    parts = [f"# Serving under load: {manifest['job']['collection']}"]
    parts += [f"![latency and nDCG@10 against load, {kind} arrivals]({name})" for kind, name in figures.items()]
    parts += _section("Measured", measured) + _section("Simulated", simulated)
    if not plan.empty:
        parts += ["## Replicas", _about_replicas(manifest), markdown(table_cells(plan))]
    parts.append("\n".join(f"- {line}" for line in footnotes(manifest)))
    parts.append(versions_line(manifest["versions"]))
    with atomic_write(folder.path / "report.md") as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def _section(name: str, table: pd.DataFrame) -> list[str]:
    parts = [] if table.empty else [f"## {name}"]
    for kind, rows in table.groupby("arrivals", sort=False) if parts else []:
        parts += [f"Arrivals: {kind}.", markdown(table_cells(rows.reset_index(drop=True)))]
    return parts


def _about_replicas(manifest: Mapping[str, Any]) -> str:
    return (
        "The fewest replicas of this machine with which 99 % of Poisson arrivals are answered within the objective, "
        f"by simulation (to 1 % beyond {_cell_size()} replicas, which are planned as independent cells of that many); "
        f"the last row of each rate also keeps {manifest['simulate']['keep']:.0%} of the full model's nDCG@10."
    )


def _cell_size() -> int:
    from experiments.online.planning import CELL

    return CELL


def _draw(path: Path, manifest: Mapping[str, Any], simulated: pd.DataFrame, measured: pd.DataFrame) -> dict[str, str]:
    """One figure a kind of arrivals; their names by kind."""
    job, figures = manifest["job"], {}
    kinds = [kind for table in (simulated, measured) if not table.empty for kind in table["arrivals"].unique()]
    for kind in dict.fromkeys(kinds):
        figures[kind] = f"online-{kind}.png"
        lines, points = (table[table["arrivals"] == kind] if len(table) else table for table in (simulated, measured))
        draw_online(
            lines,
            points,
            path / figures[kind],
            simulated_slo=manifest.get("simulate", {}).get("slo"),
            measured_slo=manifest.get("load", {}).get("slo"),
            title=f"{Path(job['collection']).name}, {job['queries with candidates']} queries, {kind} arrivals",
        )
    return figures
