"""A tiny checkpoint in split layout, frames for it, and what PyTorch counts."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pandas as pd
import torch

from elasticranker.planning.dense import DenseReading
from elasticranker.training.trainer.dense_stage import give_corrections
from tests.backbones import save_backbone
from tests.model.test_split import split

TEXTS = {
    "d1": "the river bank",
    "d2": "a cat jumps over the lazy dog",
    "d3": "money flows to the bank of the river when the sun is red",
    "d4": "",
    "d5": "how do i copy a whole folder",
}
QUERIES = {"q1": "the river", "q2": "how do i copy a file", "q3": "who was the quick brown fox " * 3}


@cache
def checkpoint(reading: DenseReading | None = None) -> str:
    """Three layers, 32 wide, exits after 0 to 3, widths 1 and 0.5."""
    made = split(Path(tempfile.mkdtemp()))
    if reading is not None:
        made.dense = reading
    return str(made.save(tempfile.mkdtemp()))


@cache
def corrected_checkpoint() -> str:
    """The same, with chosen layers and corrections of its sub-networks of one and two."""
    made = split(Path(tempfile.mkdtemp()))
    made.dense = DenseReading((2, 0, 1))
    give_corrections(made.encoder, 4, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in made.encoder.named_parameters():
            if ".corrections." in name:
                parameter.normal_(std=0.3)
    return str(made.save(tempfile.mkdtemp()))


@cache
def other_checkpoint() -> str:
    """The same sizes with other weights."""
    return str(split(Path(tempfile.mkdtemp()), first_cross=1).save(tempfile.mkdtemp()))


@cache
def bi_encoder() -> str:
    """An ordinary encoder without a head."""
    return save_backbone(Path(tempfile.mkdtemp()), "bert", labels=None)


def queries() -> pd.DataFrame:
    return pd.DataFrame({"qid": list(QUERIES), "query": list(QUERIES.values())})


def documents() -> pd.DataFrame:
    return pd.DataFrame({"docno": list(TEXTS), "text": list(TEXTS.values())})


def candidates() -> pd.DataFrame:
    rows = [(qid, query, docno, text) for qid, query in QUERIES.items() for docno, text in TEXTS.items()]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text"])
