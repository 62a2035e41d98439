"""Scores depend on the pair alone, and are those of the sub-network however they were reached."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elasticranker.model.engine import Query
from elasticranker.planning.calibration import Calibration, Line
from elasticranker.planning.plan import Plan, Stage, SubNet
from tests.fakes import FakeClock
from tests.planning.test_cost import elastic, engine_of

RANDOM = np.random.default_rng(0)
WORDS = [
    "the",
    "river",
    "bank",
    "money",
    "flows",
    "water",
    "cat",
    "dog",
    "quick",
    "brown",
    "fox",
    "copy",
    "folder",
    "file",
]
DOCUMENTS = [" ".join(RANDOM.choice(WORDS, RANDOM.integers(0, 50))) for _ in range(40)]
QUERIES = ["who copies the folder", "river"]


def queries(engine, plan: Plan, share: float = 1.0, documents=tuple(DOCUMENTS), texts=tuple(QUERIES)) -> list[Query]:
    made = []
    for query in engine.pairs.tokens(list(texts)):
        pairs = [engine.pairs.pair(query, document) for document in engine.pairs.tokens(list(documents))]
        prior = -np.arange(len(pairs), dtype=float)
        made.append(Query(pairs, prior, plan, int(share * engine.full_cost(pairs))))
    return made


def scores(ranking) -> np.ndarray:
    """By candidate."""
    by_candidate = np.empty(len(ranking.order))
    by_candidate[ranking.order] = ranking.scores
    return by_candidate


@pytest.fixture(scope="module", params=["bert", "mpnet", "albert", "modernbert"])
def checkpoint(request, tmp_path_factory):
    return elastic(tmp_path_factory.mktemp("elastic"), request.param)


@pytest.mark.parametrize("batch_size", [8, 64, 4096])
def test_batch_size_changes_no_score(checkpoint, batch_size: int) -> None:
    plan = Plan((Stage(SubNet(3), 1.0),))
    expected = [scores(r) for r in engine_of(checkpoint).rank(queries(engine_of(checkpoint), plan))]
    engine = engine_of(checkpoint, batch_size)
    for ranking, wanted in zip(engine.rank(queries(engine, plan)), expected, strict=True):
        np.testing.assert_allclose(scores(ranking), wanted, atol=1e-5)


def test_order_and_batch_mates_change_no_score(checkpoint) -> None:
    engine = engine_of(checkpoint)
    plan = Plan((Stage(SubNet(3), 1.0),))
    together = scores(engine.rank(queries(engine, plan))[0])
    reverse = scores(engine.rank(queries(engine, plan, documents=tuple(reversed(DOCUMENTS))))[0])[::-1]
    alone = [
        float(engine.rank(queries(engine, plan, documents=(text,), texts=QUERIES[:1]))[0].scores[0])
        for text in DOCUMENTS
    ]
    np.testing.assert_allclose(together, reverse, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("share", [0.6, 0.3, 0.1])
def test_a_score_below_full_is_its_exits_alone_and_in_company(checkpoint, share: float) -> None:
    engine = engine_of(checkpoint)
    lines = {s: Line(0.5 + 0.1 * s.depth, -2.0 - s.width) for s in checkpoint.subnets}
    engine.calibration = Calibration(lines, -3.0)
    plan = Plan((Stage(SubNet(0), 0.2), Stage(SubNet(1, 0.5), 0.4), Stage(SubNet(3), 0.4)))
    (query, _) = queries(engine, plan, share)
    (ranking,) = engine.rank([query])
    kept, above = 0, np.inf
    for candidate, score in zip(ranking.order.tolist(), ranking.scores.tolist(), strict=True):
        subnet = ranking.subnets[candidate]
        if subnet is not None:
            alone = engine.every_exit([query.pairs[candidate]], subnet.width)[subnet.depth]
            own = float(engine.calibration.scores(subnet, alone)[0])
            assert score == pytest.approx(min(own, above), abs=1e-4)
            kept += score == pytest.approx(own, abs=1e-4)
        above = score
    assert kept > 5


@pytest.mark.parametrize("depth", [0, 2])
def test_a_stage_that_cuts_documents_scores_what_it_would_of_shorter_ones(checkpoint, depth: int) -> None:
    engine = engine_of(checkpoint)
    cut, whole = Plan((Stage(SubNet(depth, tokens=5), 1.0),)), Plan((Stage(SubNet(depth), 1.0),))
    shorter = tuple(" ".join(document.split()[:5]) for document in DOCUMENTS)
    (query, _), (other, _) = queries(engine, cut), queries(engine, whole, documents=shorter)
    budget = int(engine.costs(other.pairs).costs(engine.cost, SubNet(depth)).sum())
    query.budget = other.budget = budget  # exactly what shorter documents cost: nobody reads on
    first, second = engine.rank([query, other])
    assert first.spend.tolist() == second.spend.tolist()
    assert set(first.subnets) == {SubNet(depth, tokens=5)}
    np.testing.assert_allclose(scores(first), scores(second), atol=1e-5)


def test_whoever_reads_on_after_a_cut_is_read_whole(checkpoint) -> None:
    engine = engine_of(checkpoint)
    plan = Plan((Stage(SubNet(1, tokens=5), 0.5), Stage(SubNet(3), 0.5)))
    (query, _), (direct, _) = queries(engine, plan, 10.0), queries(engine, Plan((Stage(SubNet(3), 1.0),)), 10.0)
    staged, expected = engine.rank([query, direct])
    np.testing.assert_allclose(scores(staged), scores(expected), atol=1e-5)
    assert (staged.spend > expected.spend).all()  # nothing that was read before is of use


def test_a_cut_keeps_the_end_of_documents_where_the_tokenizer_does(checkpoint) -> None:
    pairs = engine_of(checkpoint).pairs
    (document,) = pairs.tokens(["the river bank money flows"])
    pair = pairs.pair(document[:1], document)
    assert pairs.shorter(pair, 2).document.tolist() == document[:2].tolist()
    pairs.keeps_end = True
    assert pairs.shorter(pair, 2).document.tolist() == document[-2:].tolist()
    assert pairs.shorter(pair, None) is pair


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_reused_hidden_states_give_the_scores_of_a_fresh_run(checkpoint, width: float) -> None:
    engine = engine_of(checkpoint)
    direct = engine.rank(queries(engine, Plan((Stage(SubNet(3, width), 1.0),)), 10.0))
    steps = Plan(tuple(Stage(SubNet(depth, width if depth else 1.0), 0.25) for depth in (0, 1, 2, 3)))
    staged = engine.rank(queries(engine, steps, 10.0))
    for one, other in zip(direct, staged, strict=True):
        np.testing.assert_allclose(scores(one), scores(other), atol=1e-5)


def test_a_narrower_sub_network_is_a_prefix_of_heads_and_neurons(checkpoint) -> None:
    half = checkpoint.encoder.weights(0.5, torch.float32)[0]
    whole = checkpoint.encoder.layers[0]
    kept = checkpoint.encoder.shape.neurons // 2
    assert half.up.shape[-2] == kept
    assert torch.equal(half.up, whole.up[..., :kept, :])
    assert torch.equal(half.qkv, whole.qkv[:, :2].reshape(-1, checkpoint.encoder.shape.hidden))


def test_an_empty_document_and_an_empty_query_are_scored(checkpoint) -> None:
    engine = engine_of(checkpoint)
    (ranking,) = engine.rank(queries(engine, Plan((Stage(SubNet(2), 1.0),)), documents=("", "river"), texts=("",)))
    assert np.isfinite(ranking.scores).all()


def test_a_deadline_ends_between_batches_and_loses_nothing(checkpoint) -> None:
    clock = FakeClock(step=1.0)
    engine = engine_of(checkpoint, batch_size=64)
    engine.clock = clock
    (query, _) = queries(engine, Plan((Stage(SubNet(1), 0.5), Stage(SubNet(3), 0.5))))
    query.deadline = clock.now + 5.5
    (ranking,) = engine.rank([query])
    scored = [subnet is not None for subnet in ranking.subnets]
    assert not ranking.complete
    assert 0 < sum(scored) < len(scored)
    assert sorted(ranking.order.tolist()) == list(range(len(scored)))
    assert [scored[i] for i in ranking.order] == sorted(scored, reverse=True)


def test_progress_is_told_after_every_batch_in_layers_of_full_width(checkpoint) -> None:
    plan = Plan((Stage(SubNet(0), 0.1), Stage(SubNet(1, 0.5), 0.2), Stage(SubNet(3), 0.7)))
    told: list[float] = []
    engine = engine_of(checkpoint, batch_size=64)
    rankings = engine.rank(queries(engine, plan, share=0.6), progress=told.append)
    reached = [subnet for ranking in rankings for subnet in ranking.subnets]
    narrow, full = reached.count(SubNet(1, 0.5)), reached.count(SubNet(3))
    assert len(told) > 10
    assert 3 * full + 0.5 * narrow <= sum(told) <= 3 * full + 0.5 * (narrow + full)
