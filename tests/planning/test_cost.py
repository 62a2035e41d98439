"""Prices equal what PyTorch itself counts on the same run."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from elasticranker.model.checkpoint import Checkpoint, load
from elasticranker.model.encoder import Encoder
from elasticranker.model.engine import Engine, Query
from elasticranker.model.pairs import PairEncoder
from elasticranker.model.readout import InteractionReadout
from elasticranker.planning.plan import Plan, Stage, SubNet
from tests.backbones import FAMILIES, save_backbone


def engine_of(checkpoint: Checkpoint, batch_size: int = 512) -> Engine:
    return Engine(
        checkpoint.encoder,
        PairEncoder(checkpoint.tokenizer, max_length=64, max_query_length=16),
        checkpoint.cost,
        dtype=torch.float32,
        device=torch.device("cpu"),
        batch_size=batch_size,
    )


def elastic(folder: Path, family: str = "bert") -> Checkpoint:
    """A random elastic checkpoint: an interaction readout after every layer, four widths."""
    made = load(save_backbone(folder, family))
    torch.manual_seed(1)
    shape = made.encoder.shape
    encoder = Encoder(shape, {depth: InteractionReadout(shape.hidden) for depth in range(shape.layers + 1)})
    encoder.load_state_dict(made.encoder.state_dict() | encoder.exits.state_dict(prefix="exits."), strict=False)
    for readout in encoder.exits.values():
        torch.nn.init.normal_(readout.term, std=0.3)
        torch.nn.init.normal_(readout.cls, std=0.3)
    return Checkpoint(encoder.eval(), made.tokenizer, made.config, widths=(1.0, 0.75, 0.5, 0.25))


TEXTS = ["the river bank", "a cat", "money flows to the bank of the river " * 4, "", "how do i copy a whole folder"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [1, 2])
def test_the_whole_model_costs_what_torch_counts(tmp_path: Path, family: str, labels: int) -> None:
    engine = engine_of(load(save_backbone(tmp_path, family, labels)))
    assert_counted(engine, Plan((Stage(engine.full, 1.0),)), 1.0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [1.0, 0.6, 0.3, 0.1])
def test_a_plan_of_many_sub_networks_costs_what_torch_counts(tmp_path: Path, family: str, share: float) -> None:
    plan = Plan(
        (
            Stage(SubNet(0), 0.1),
            Stage(SubNet(1), 0.3),
            Stage(SubNet(2, 0.5), 0.3),
            Stage(SubNet(3, 0.5), 0.3, prior=0.2),
        )
    )
    assert_counted(engine_of(elastic(tmp_path, family)), plan, share)


@cache
def _engine(family: str) -> Engine:
    with tempfile.TemporaryDirectory() as folder:
        return engine_of(elastic(Path(folder), family))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FAMILIES),
    st.lists(st.integers(0, 60), min_size=1, max_size=6),
    st.floats(0.01, 1.2),
    st.sampled_from([0.25, 0.5, 0.75, 1.0]),
)
def test_no_query_costs_more_than_its_budget_nor_other_than_torch_counts(
    family: str, lengths: list[int], share: float, width: float
) -> None:
    engine = _engine(family)
    (asked,) = engine.pairs.tokens(["who is at the bank"])
    pairs = [engine.pairs.pair(asked, text) for text in engine.pairs.tokens(["river " * n for n in lengths])]
    plan = Plan((Stage(SubNet(0), 0.05), Stage(SubNet(1, width), 0.25), Stage(SubNet(3, width), 0.7)))
    budget = int(share * engine.full_cost(pairs))
    with FlopCounterMode(display=False) as counter:
        (ranking,) = engine.rank([Query(pairs, None, plan, budget)])
    assert ranking.spend.sum() == counter.get_total_flops() <= budget
    assert sorted(ranking.order.tolist()) == list(range(len(pairs)))


def test_a_query_that_is_cut_beside_long_texts_alone_costs_what_torch_counts(tmp_path: Path) -> None:
    engine = engine_of(elastic(tmp_path))
    engine.pairs = PairEncoder(engine.pairs.tokenizer, max_length=40, max_query_length=36)
    assert_counted(engine, Plan((Stage(SubNet(1), 0.4), Stage(SubNet(3), 0.6))), 1.0, "who is at the bank " * 7)


def assert_counted(engine: Engine, plan: Plan, share: float, asked: str = "who is at the bank") -> None:
    tokens = engine.pairs.tokens(TEXTS)
    query = engine.pairs.tokens([asked])[0]
    pairs = [engine.pairs.pair(query, text) for text in tokens]
    budget = int(share * engine.full_cost(pairs))
    with FlopCounterMode(display=False) as counter:
        (ranking,) = engine.rank([Query(pairs, None, plan, budget)])
    assert ranking.spend.sum() == counter.get_total_flops()
    assert 0 < ranking.spend.sum() <= budget
