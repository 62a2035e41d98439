"""The table of an experiment, read back from its folder, as a section of a model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elasticranker.evaluation.report import footnotes, tables
from elasticranker.files import read_json
from elasticranker.model.card import markdown_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Measurement:
    """A table of `elasticranker experiment` and what a reader must know of it.

    Attributes:
        results: the table, in the form of results.csv.
        collection: what was searched.
        date: when, as YYYY-MM-DD.
        notes: a line each: queries, processor, what was counted.
    """

    results: pd.DataFrame
    collection: str
    date: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: str | Path) -> Measurement:
        """The measurement in an experiment's output folder.

        Raises:
            ValueError: the folder holds none.
        """
        import pandas as pd

        results, manifest = Path(folder) / "results.csv", Path(folder) / "manifest.json"
        if not results.exists() or not manifest.exists():
            raise ValueError(f"{folder} has no results.csv and manifest.json: name the --output of an experiment")
        made = read_json(manifest)
        table = pd.read_csv(results, dtype={"budget": str}).fillna({"budget": ""})
        return cls(table, made["job"]["collection"], made["date"][:10], tuple(footnotes(made)))

    def section(self) -> str:
        """It as Markdown, for `model_card(measured=...)`."""
        date = f", {self.date}" if self.date else ""
        shown, tests = tables(self.results)
        parts = [f"### {self.collection}{date}", markdown_table(shown)]
        if tests:
            parts.append(markdown_table(tests))
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts)
