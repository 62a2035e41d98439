"""Rerankers of known scores for the tests of routing."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import pandas as pd
import pyterrier as pt

from elasticranker.planning.budget import Budget
from elasticranker.routing import EnergyRouter

COLUMNS = ["qid", "query", "docno", "text", "score", "rank"]


class Judge(pt.Transformer):
    """A black-box reranker of known scores that remembers what it was asked, shuffles its rows and adds a column."""

    schematic: ClassVar = {"label": "Judge", "help_url": None}

    def __init__(self, scores=None, default=0.0):
        self.scores, self.default = scores or {}, default
        self.asked = []

    def transform(self, inp):
        pt.validate.result_frame(inp, extra_columns=["query", "text"], context=self)
        pairs = list(zip(inp["qid"], inp["docno"], strict=True))
        self.asked += pairs
        scores = [float(self.scores.get(pair, self.default)) for pair in pairs]
        return inp.assign(score=scores, spend=1.0).sample(frac=1, random_state=0)  # whose ranks are out of date

    @property
    def queries(self):
        return {qid for qid, _ in self.asked}


class Bomb(pt.Transformer):
    """A reranker that must not be asked."""

    def transform(self, inp):
        if len(inp):
            raise AssertionError(f"asked about {inp['qid'].unique()}")
        return inp


class Priced(Judge):
    """A Judge with ElasticRanker's `budget` and `full_cost`: a pair costs as many FLOPs as its text has letters."""

    def __init__(self, budget="full"):
        super().__init__(default=1.0)
        self.budget, self.spent = Budget(budget), 0.0

    def full_cost(self, frame):
        return frame["text"].str.len().groupby(frame["qid"]).sum()

    def transform(self, inp):
        if len(inp):
            full, limit = self.full_cost(inp), self.budget.value
            self.spent += (full * limit if self.budget.kind == "share" else full.clip(upper=limit)).sum()
        return super().transform(inp)


def frame(*queries, sizes=4):
    """Candidates d0, d1, ... of each query, in that order."""
    sizes = [sizes] * len(queries) if isinstance(sizes, int) else sizes
    pairs = [(qid, i) for qid, size in zip(queries, sizes, strict=True) for i in range(size)]
    rows = [(qid, f"what is {qid}", f"d{i}", f"text {i}", 10.0 - i, i) for qid, i in pairs]
    return pd.DataFrame(rows, columns=COLUMNS)


def margins(**gaps):
    """A Swift whose best candidate d0 leads by so much in each query: the smaller the gap, the higher the energy."""
    return Judge({(qid, "d0"): gap for qid, gap in gaps.items()})


def routes(router, candidates):
    router.trace = True
    traced = router.transform(candidates)
    return dict(zip(traced["qid"], traced["routed_to"], strict=True))


by_margin = partial(EnergyRouter, energy="margin")
backwards = {(q, f"d{i}"): i for q in "abcdefghij" for i in range(10)}  # Super turns every list round
