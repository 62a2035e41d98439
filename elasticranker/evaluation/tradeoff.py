"""The trade-off: effectiveness against cost, one row a system, beside the first stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.interleaved import Rankings, run_of
from elasticranker.evaluation.measures import TESTED, bootstrap, effectiveness, significance
from elasticranker.evaluation.report import cells, footnotes, write_report
from elasticranker.evaluation.systems import file_name, split_name, system_named
from elasticranker.files import atomic_write, read_json, writable_folder, write_json
from elasticranker.progress import bar, phase
from elasticranker.runs import read_run, write_run

if TYPE_CHECKING:
    from elasticranker.display.style import Picture

COSTS = ("gflops_mean", "gflops_max", "ms_mean", "ms_p50", "ms_p95")
JOURNAL = "journal.jsonl"


@dataclass(frozen=True, eq=False, repr=False)
class TradeOff:
    """Systems compared on the same candidates; `trade_off` makes it. A notebook shows the table and how to read it.

    Attributes:
        table: one row for the first stage and one a system, with the columns `system`, `budget`, the measures, `COSTS`
            and `p <measure>` for each measure. Costs are per query that has candidates: 10^9 FLOPs, and milliseconds
            of the reranker alone. p is that of a paired t-test against the baseline, Holm-corrected over the systems.
        per_query: one row a query and system: `qid`, `system`, `budget`, the measures, `gflops`, `ms` (none where
            nothing was reranked).
        runs: the rankings by system: columns qid, docno, score, rank.
        manifest: what was measured, how, on what.
    """

    table: pd.DataFrame
    per_query: pd.DataFrame
    runs: Mapping[str, pd.DataFrame]
    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, candidates: Candidates, finished: Mapping[str, Rankings], manifest: Mapping[str, Any]) -> TradeOff:
        """From what was measured.

        Args:
            candidates: what was reranked.
            finished: rankings and costs by system.
            manifest: with `evaluation`: `measures`, `baseline` and `relevance level`.
        """
        wanted = manifest["evaluation"]
        runs = {candidates.system: candidates.frame[["qid", "docno", "score", "rank"]]}
        runs |= {system: run_of(rankings, candidates) for system, rankings in finished.items()}
        values = {
            system: effectiveness(run, candidates.qrels, rel=wanted["relevance level"], measures=wanted["measures"])
            for system, run in bar(runs.items(), name="evaluating", unit="systems")
        }
        table = _table(candidates.system, finished, values, wanted["baseline"])
        return cls(table, _per_query(finished, values), runs, manifest)

    @classmethod
    def read(cls, folder: str | Path) -> TradeOff:
        """What `save`, or a comparison with a folder, wrote: to draw it again, say.

        Raises:
            ValueError: there is none.
        """
        place = Path(folder)
        manifest, table = place / "manifest.json", place / "results.csv"
        if not (manifest.exists() and table.exists()):
            raise ValueError(f"{place} has no results.csv and manifest.json: name the folder of an experiment")
        frames = [
            pd.read_csv(place / name, dtype={"qid": str, "system": str, "budget": str}).fillna({"budget": ""})
            for name in ("results.csv", "per_query.csv")
        ]
        names = frames[0]["system"].str.cat(frames[0]["budget"], sep=" ").str.strip()
        runs = {system: read_run(place / "runs" / f"{file_name(system)}.trec.gz") for system in names}
        return cls(frames[0], frames[1], runs, read_json(manifest))

    @property
    def measures(self) -> list[str]:
        """What was measured."""
        return list(self.manifest["evaluation"]["measures"])

    @property
    def significance(self) -> pd.DataFrame:
        """p-values, one row a system, one column a measure: do they differ from the baseline? Those of `table`."""
        tests = self.table[["system", "budget", *(f"p {measure}" for measure in self.measures)]]
        return tests.rename(columns=lambda name: name.removeprefix("p "))

    @property
    def intervals(self) -> pd.DataFrame:
        """95 % confidence intervals of the means: one row a system and measure, columns `low` and `high`.

        Bootstrap over queries, the same queries for all systems.
        """
        parts = []
        for (name, budget), values in self.per_query.groupby(["system", "budget"], sort=False):
            low, high = bootstrap(values[self.measures].to_numpy(dtype=float))
            about = {"system": name, "budget": budget, "measure": self.measures, "low": low, "high": high}
            parts.append(pd.DataFrame(about))
        return pd.concat(parts, ignore_index=True)

    def differences(self, system: str, measure: str = TESTED, *, baseline: str | None = None) -> pd.DataFrame:
        """What a system does to each query, the largest loss first.

        Args:
            system: one of those compared: "elastic 5%", or "5%" where only one has that budget.
            measure: one of those measured.
            baseline: what it is compared with; by default what everything was tested against.

        Returns:
            One row a query (qid is the index), columns `system`, `baseline` and `difference`.

        Raises:
            ValueError: there is no such system, measure or baseline.

        Example:
            >>> compared.differences("5%").head()  # doctest: +SKIP
        """
        if measure not in self.measures:
            raise ValueError(f"measure={measure!r}: choose among {', '.join(self.measures)}")
        against = self.manifest["evaluation"]["baseline"] if baseline is None else baseline
        if against is None:
            raise ValueError("baseline=None: nothing was tested against, so name the system to compare with")
        names = (self.per_query["system"] + " " + self.per_query["budget"]).str.strip()
        columns = {}
        for column, wanted in (("system", system), ("baseline", against)):
            own = self.per_query[names == system_named(wanted, names.unique())]
            columns[column] = own.set_index("qid")[measure]
        frame = pd.DataFrame(columns)
        return frame.assign(difference=frame["system"] - frame["baseline"]).sort_values("difference", kind="stable")

    def plot(self, cost: Literal["gflops", "ms"] = "gflops") -> Picture:
        """The first two measures against cost, with confidence bands.

        Args:
            cost: `"gflops"` (10^9 FLOPs a query, exact) or `"ms"` (of this machine).
        """
        from elasticranker.evaluation.plots import tradeoff_figure

        job = self.manifest["job"]
        title = f"{job['collection']}, {job['queries']} queries"
        return tradeoff_figure(
            self.table, self.intervals, title=title, evaluation=self.manifest["evaluation"], cost=cost
        )

    def save(self, folder: str | Path) -> Path:
        """Write results.csv, per_query.csv, the run files, tradeoff.png, report.md and manifest.json.

        Raises:
            ValueError: the folder is an experiment's that is kept with a journal.
            OSError: it cannot be written.
        """
        place = writable_folder(folder)
        if (place / JOURNAL).exists():
            raise ValueError(f"{place} holds an experiment that goes on with its own journal: choose another folder")
        self.write(place)
        return place

    def write(self, folder: Path) -> None:
        """`save` into a folder that is locked, or new."""
        for system, run in bar(self.runs.items(), name="writing runs", unit="systems"):
            tag = file_name(system)
            write_run(writable_folder(folder / "runs") / f"{tag}.trec.gz", run, tag)
        with phase("drawing"):
            self.plot().save(folder / "tradeoff.png")
        _write_csv(folder / "results.csv", self.table)
        _write_csv(folder / "per_query.csv", self.per_query)
        write_report(folder / "report.md", self.table, self.manifest)
        write_json(folder / "manifest.json", self.manifest)

    def __repr__(self) -> str:
        tests = [column for column in self.table.columns if column.startswith("p ")]
        return self.table.drop(columns=tests).round(4).to_string(index=False, na_rep="")

    def _repr_html_(self) -> str:
        from elasticranker.display.html import paragraph, table

        return table(cells(self.table)) + "".join(map(paragraph, footnotes(self.manifest)))


def _table(
    first_stage: str, finished: Mapping[str, Rankings], per_query: Mapping[str, pd.DataFrame], baseline: str | None
) -> pd.DataFrame:
    """One row a system: effectiveness over all judged queries, cost over those with candidates, tests."""
    tests = significance(per_query, baseline)
    rows: list[dict[str, Any]] = [{"system": first_stage, "budget": ""}]
    for system, rankings in finished.items():
        gflops = np.array([ranking["flops"] for ranking in rankings.values()]) / 1e9
        ms = np.array([ranking["ms"] for ranking in rankings.values()])
        row: dict[str, Any] = dict(zip(("system", "budget"), split_name(system), strict=True))
        row |= {"gflops_mean": gflops.mean(), "gflops_max": gflops.max(), "ms_mean": ms.mean()}
        rows.append(row | {"ms_p50": np.percentile(ms, 50), "ms_p95": np.percentile(ms, 95)})
    for system, row in zip([first_stage, *finished], rows, strict=True):
        row |= {**per_query[system].mean(), **tests.loc[system].add_prefix("p ")}
    columns = ["system", "budget", *tests.columns, *COSTS, *(f"p {measure}" for measure in tests.columns)]
    table = pd.DataFrame(rows, columns=columns)
    names = list(table["system"].unique())
    places = table["system"].map(names.index)
    return table.assign(place=places).sort_values(
        ["place", "gflops_mean"], ascending=[True, False], kind="stable", ignore_index=True
    )[columns]


def _per_query(finished: Mapping[str, Rankings], per_query: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    parts = []
    for system, values in per_query.items():
        costs = {qid: (made["flops"] / 1e9, made["ms"]) for qid, made in finished.get(system, {}).items()}
        beside = (
            pd.DataFrame.from_dict(costs, orient="index", columns=["gflops", "ms"]).reindex(values.index).astype(float)
        )
        part = pd.concat([values, beside], axis=1)
        name, budget = split_name(system)
        part.insert(0, "system", name)
        part.insert(1, "budget", budget)
        parts.append(part)
    return pd.concat(parts).rename_axis("qid").reset_index()


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as file:
        file.write(table.to_csv(index=False).encode())
