"""GLUE's files at a tiny scale: made-up texts under the names of real tasks."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.training.examples import made_examples

KINDS = {"SST-2": "texts", "RTE": "pairs", "STS-B": "regression"}


def write_glue(folder: Path, *, train: int = 24, reported: int = 12) -> Path:
    """Files of a task of single texts, one of pairs and a regression (of pairs, as STS-B has it)."""
    for name, kind in KINDS.items():
        (folder / name).mkdir(parents=True)
        for seed, (split, count) in enumerate({"train": train, "dev": reported}.items()):
            examples = made_examples(count, kind, seed)
            lines = ["label\tsentence1" if kind == "texts" else "label\tsentence1\tsentence2"]
            for text, label in zip(examples.texts, examples.labels, strict=True):
                parts = (text, "sun") if kind == "regression" else (text,) if isinstance(text, str) else text
                lines.append("\t".join([f"{label:.3f}" if kind == "regression" else f"{label:.0f}", *parts]))
            (folder / name / f"{split}.tsv.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return folder
