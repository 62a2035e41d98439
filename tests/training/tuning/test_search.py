"""The ladder is tuned on tables that say what the model says, and remembers what it was tuned on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from elasticranker import ElasticRanker
from elasticranker.cli import build_parser, main
from elasticranker.commands import tune as command
from elasticranker.model.checkpoint import load, query_key, set_calibration, set_ladder
from elasticranker.model.engine import Query
from elasticranker.planning.calibration import Calibration, Line
from elasticranker.planning.cost import CostModel
from elasticranker.planning.plan import Candidates, Plan, Stage, SubNet
from elasticranker.training.tuning.search import draw, mean_quality, split_half, tune, vary
from elasticranker.training.tuning.simple import simple_plans
from elasticranker.training.tuning.tables import LOST, Table, make_tables, ndcg
from tests.backbones import WORDS
from tests.planning.test_cost import elastic, engine_of

Capture = pytest.CaptureFixture[str]
COST = CostModel(6, 64, 4, 16, 256, 64, dict.fromkeys(range(7), "interaction"))
FULL = SubNet(6)
SUBNETS = [SubNet(0)] + [SubNet(depth, width) for depth in range(1, 7) for width in (0.5, 1.0)]


def made_tables(queries: int = 24, candidates: int = 40, seed: int = 0) -> list[Table]:
    """Queries on which deeper is better: a sub-network's score is the truth plus noise that falls with depth."""
    random = np.random.default_rng(seed)
    tables = []
    for _ in range(queries):
        truth = random.normal(size=candidates)
        scores = {s: truth + random.normal(size=candidates) * (2 - 0.3 * s.depth * s.width) for s in SUBNETS}
        labels = (truth >= np.sort(truth)[-3]).astype(float)
        prior = truth + random.normal(size=candidates) * 2
        tokens = random.integers(3, 16, candidates) * 8
        tables.append(Table(Candidates(tokens, 8, prior), scores, labels, FULL))
    return tables


def test_a_replayed_plan_ranks_as_the_engine_does(tmp_path: Path) -> None:
    checkpoint = elastic(tmp_path)
    engine = engine_of(checkpoint)
    random = np.random.default_rng(0)
    query = engine.pairs.tokens(["who copies the folder"])[0]
    texts = [" ".join(random.choice(WORDS, random.integers(1, 40))) for _ in range(30)]
    pairs = [engine.pairs.pair(query, text) for text in engine.pairs.tokens(texts)]
    prior = -np.arange(30.0)
    (table,) = make_tables(engine, [(pairs, prior, np.zeros(30))], checkpoint.widths)
    assert set(table.scores) == set(checkpoint.subnets)
    plan = Plan((Stage(SubNet(0), 0.1, 0.5), Stage(SubNet(1, 0.5), 0.4, 0.2), Stage(SubNet(3), 0.5)))
    for share in (0.8, 0.3, 0.1):
        budget = int(share * engine.full_cost(pairs))
        (ranked,) = engine.rank([Query(pairs, prior, plan, budget)])
        replayed = table.replay(plan, engine.cost, budget)
        assert replayed.order.tolist() == ranked.order.tolist()
        assert replayed.spend.tolist() == ranked.spend.tolist()


def test_the_head_of_a_table_is_the_table_of_the_first_candidates(tmp_path: Path) -> None:
    checkpoint = elastic(tmp_path)
    engine = engine_of(checkpoint)
    query = engine.pairs.tokens(["who copies the folder"])[0]
    pairs = [engine.pairs.pair(query, text) for text in engine.pairs.tokens(WORDS)]
    prior, labels = -np.arange(float(len(pairs))), np.ones(len(pairs))
    (table,), (first,) = (
        make_tables(engine, [(pairs[:n], prior[:n], labels[:n])], checkpoint.widths, cuts=[4]) for n in (len(pairs), 7)
    )
    head = table.head(7)
    assert head.full_cost(engine.cost) == first.full_cost(engine.cost) and len(head.labels) == 7
    for subnet, scores in first.scores.items():
        np.testing.assert_allclose(head.scores[subnet], scores, atol=1e-5)
    plan = Plan((Stage(SubNet(1, tokens=4), 0.3, 0.5), Stage(SubNet(3), 0.7)))
    budget = int(0.5 * first.full_cost(engine.cost))
    assert head.replay(plan, engine.cost, budget).order.tolist() == (
        first.replay(plan, engine.cost, budget).order.tolist()
    )


def test_ndcg_is_that_of_trec_eval() -> None:
    import ir_measures

    random = np.random.default_rng(1)
    gains = random.integers(0, 4, 30).astype(float)
    order = random.permutation(30)
    qrels = pd.DataFrame({"query_id": "1", "doc_id": [f"d{i}" for i in range(30)], "relevance": gains.astype(int)})
    run = pd.DataFrame({"query_id": "1", "doc_id": [f"d{i}" for i in order], "score": -np.arange(30.0)})
    expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]
    assert ndcg(gains, order) == pytest.approx(expected)


def test_random_plans_and_their_variations_are_plans() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        plan = vary(draw(SUBNETS, random), SUBNETS, random)
        assert sum(stage.share for stage in plan.stages) == pytest.approx(1)
        assert [stage.subnet for stage in plan.stages] == sorted({stage.subnet for stage in plan.stages})


def test_a_tuned_plan_is_at_least_as_good_as_the_untuned_one() -> None:
    from elasticranker.planning.ladder import untuned

    tables = made_tables()
    ladder = tune(tables, COST, shares=(0.05, 0.25), trials=30)
    for rung in ladder.rungs:
        plain = mean_quality(untuned(SUBNETS).plan(rung.share), tables, COST, rung.share)
        assert mean_quality(rung.plan, tables, COST, rung.share) >= plain


@pytest.mark.parametrize("share", [0.03, 0.2, 0.6])
def test_no_tuned_plan_is_worse_than_one_that_needs_no_tuning(share: float) -> None:
    tables = made_tables()
    (rung,) = tune(tables, COST, shares=(share,), trials=4).rungs
    tuned = mean_quality(rung.plan, tables, COST, share)
    wide = [subnet for subnet in SUBNETS if subnet.width == 1]
    assert tuned >= max(mean_quality(plan, tables, COST, share) for plan in simple_plans(wide, FULL))


def test_quality_is_that_of_both_measures_by_both_judges() -> None:
    scores = {FULL: np.array([5.0, 4.0, 3.0, 2.0, 1.0])}
    table = Table(Candidates(np.full(5, 8), 8), scores, np.array([0.0, 0.0, 1.0, 0.0, 0.0]), FULL)
    order = np.array([1, 2, 0, 3, 4])
    gains = np.array([10.0, 9.0, 8.0, 7.0, 6.0])
    imitation = (ndcg(gains, order) + 1 / 3) / 2
    judged = (ndcg(table.labels, order) + 1 / 2) / 2
    assert table.quality(order) == pytest.approx((imitation + judged) / 2)


def test_losing_the_full_models_first_costs_more_than_its_mean() -> None:
    random = np.random.default_rng(0)
    scores = {FULL: -np.arange(30.0)}
    table = Table(Candidates(np.full(30, 8), 8), scores, np.zeros(30), FULL)
    at_the_end_of_ten = np.array([*range(1, 10), 0, *range(10, 30)])
    lost = np.array([*range(1, 11), 0, *random.permutation(np.arange(11, 30))])
    assert table.quality(lost) < table.quality(at_the_end_of_ten) - LOST


def test_tuning_is_repeatable() -> None:
    assert tune(made_tables(), COST, shares=(0.1,), trials=20) == tune(made_tables(), COST, shares=(0.1,), trials=20)


def test_the_split_half_check_tells_luck_from_quality() -> None:
    """With pure noise for scores, what is tuned on one half is worth little on the other."""
    random = np.random.default_rng(0)
    noise = [
        Table(t.candidates, {s: random.normal(size=40) for s in SUBNETS}, t.labels, FULL)
        for t in made_tables(queries=12)
    ]
    lucky = split_half(noise, COST, shares=(0.1,), trials=40)
    solid = split_half(made_tables(queries=24), COST, shares=(0.1,), trials=40)
    assert solid.other[0] / solid.own[0] > lucky.other[0] / lucky.own[0]


def test_one_query_is_too_few() -> None:
    with pytest.raises(ValueError, match="too few"):
        tune(made_tables(queries=1), COST)


def test_labels_stay_with_their_documents_in_whatever_order_a_frame_is(tmp_path: Path) -> None:
    import pandas as pd

    from elasticranker.training.tuning.tables import tabulate

    ranker = ElasticRanker(str(elastic(tmp_path / "source").save(tmp_path / "checkpoint")), dtype="float32")
    rows = [(f"q{q}", "who copies", f"d{d}", " ".join(WORDS[: d + 1]), 9.0 - d, d) for q in range(2) for d in range(5)]
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])
    qrels = pd.DataFrame([("q0", "d3", 2), ("q1", "d1", 1)], columns=["qid", "docno", "label"])
    ordered, shuffled = (tabulate(ranker, f, qrels) for f in (frame, frame.sample(frac=1, random_state=0)))
    assert sorted(table.labels.tolist() for table in ordered) == [[0, 0, 0, 2, 0], [0, 1, 0, 0, 0]]
    assert sorted(t.labels.tolist() for t in shuffled) == sorted(t.labels.tolist() for t in ordered)
    for table in shuffled:
        assert table.candidates.prior.tolist() == [9.0, 8.0, 7.0, 6.0, 5.0]
        assert table.candidates.tokens.tolist() == ordered[0].candidates.tokens.tolist()


def test_tables_hold_shallow_exits_that_read_less_of_documents_too(tmp_path: Path) -> None:
    ranker = ElasticRanker(str(elastic(tmp_path / "source").save(tmp_path / "checkpoint")), dtype="float32")
    texts = ranker.engine.pairs.tokens(["who copies", " ".join(WORDS), WORDS[0]])
    pairs = [ranker.engine.pairs.pair(texts[0], text) for text in texts[1:]]
    (table,) = make_tables(ranker.engine, [(pairs, None, np.zeros(2))], (1.0, 0.5), cuts=(4,))
    assert {subnet for subnet in table.scores if subnet.tokens} == {
        SubNet(0, tokens=4),
        SubNet(1, tokens=4),
        SubNet(1, 0.5, 4),
    }
    long, short = table.scores[SubNet(1, tokens=4)] - table.scores[SubNet(1)]
    assert abs(long) > 1e-3 and abs(short) < 1e-5
    costs = (table.candidates.costs(ranker.checkpoint.cost, subnet) for subnet in (SubNet(1, tokens=4), SubNet(1)))
    assert next(costs)[0] < next(costs)[0]


def test_a_cut_is_chosen_where_it_costs_less_and_tells_as_much() -> None:
    tables = []
    for table in made_tables(queries=12):
        candidates = replace(table.candidates, short={8: np.full(len(table.labels), 16)})
        shallow = {SubNet(s.depth, s.width, 8): scores for s, scores in table.scores.items() if s.depth <= 2}
        tables.append(replace(table, candidates=candidates, scores=table.scores | shallow))
    (rung,) = tune(tables, COST, shares=(0.05,), trials=120).rungs
    assert rung.plan.cuts == (8,)


@pytest.fixture
def tuning(tmp_path: Path, validation: Path) -> list[str]:
    """The command line that tunes a random checkpoint on the validation queries, into `tmp_path`/tuned."""
    folder = elastic(tmp_path / "source").save(tmp_path / "checkpoint", card="a card")
    arguments = ["tune", "--model", str(folder), "--data", str(validation), "--candidates", "first", "--trials", "8"]
    return [*arguments, "--output", str(tmp_path / "tuned"), "--min-queries", "12"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_command_stores_a_ladder_in_a_copy_and_leaves_the_checkpoint_as_it_was(
    tmp_path: Path, validation: Path, tuning: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(command, "HOLDS", 0.0)  # a random model's scores are luck; the check itself is tested above
    before = files(tmp_path / "checkpoint")
    assert main([*tuning, "--figure", str(tmp_path / "front.png")]) == 0
    shown = capsys.readouterr().out
    assert "held out" in shown and "ECE after" in shown
    assert files(tmp_path / "checkpoint") == before
    tuned = tmp_path / "tuned"
    ranker = ElasticRanker(str(tuned), budget="10%")
    assert len(ranker.ladder.rungs) == 11
    assert ranker.fingerprint != ElasticRanker(str(tmp_path / "checkpoint")).fingerprint
    assert len(ranker.tuned_on) == 12
    first = (validation / "queries.tsv").read_text().split("\n")[0].split("\t")[1]
    assert query_key(first) in ranker.tuned_on
    assert (tmp_path / "front.png").stat().st_size > 1000
    assert load(tuned).ladder is not None
    assert set(load(tuned).calibration.lines) == set(load(tuned).subnets)
    assert "# tuned" in (tuned / "README.md").read_text()


def test_a_ladder_for_another_first_stage_stands_beside_bm25s(
    tmp_path: Path, tuning: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(command, "HOLDS", 0.0)
    source, tuned = tmp_path / "checkpoint", tmp_path / "tuned"
    set_ladder(source, load(source).plans(), {"queries": ["one of BM25's"]})
    about = {"collection": "x", "queries": [], "pairs": 0, "strangers": 0, "level": 1, "errors": []}
    set_calibration(source, Calibration(dict.fromkeys(load(source).subnets, Line(2.0, -1.0))), about)
    before = load(source)
    assert main([*tuning, "--first-stage", "dense", "--trials", "2"]) == 0
    both = load(tuned)
    assert (both.ladder, both.calibration) == (before.ladder, before.calibration)
    assert list(both.ladders) == ["dense"]
    ranker = ElasticRanker(str(tuned), first_stage="dense")
    assert ranker.ladder == both.ladders["dense"] != ElasticRanker(str(tuned)).ladder
    assert ranker != ElasticRanker(str(tuned))
    assert len(ranker.tuned_on) == 13
    capsys.readouterr()
    assert main(["info", str(tuned)]) == 0
    shown = capsys.readouterr().out
    assert "ladder for candidates of bm25," in shown and "ladder for candidates of dense," in shown
    assert "`ElasticRanker(first_stage='dense')`. Tuned on 12 queries" in (tuned / "README.md").read_text()


def test_a_first_stage_without_a_ladder_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    made = elastic(tmp_path / "source")
    assert made.plans("dense") == made.plans()  # a plan that nobody tuned is as good for any
    made.ladders["dense"] = made.plans()
    folder = str(made.save(tmp_path / "checkpoint"))
    frame = pd.DataFrame([("1", "a cat", "d1", "a dog")], columns=["qid", "query", "docno", "text"])
    with pytest.raises(ValueError, match="first_stage='bm25': the checkpoint has ladders for dense; name one of those"):
        ElasticRanker(folder)(frame)
    assert len(ElasticRanker(folder, first_stage="dense", budget="50%")(frame)) == 1


def test_a_ladder_for_another_first_stage_wants_its_run(tuning: list[str], capsys: Capture) -> None:
    at = tuning.index("--candidates")
    assert main([*tuning[:at], *tuning[at + 2 :], "--first-stage", "dense"]) == 2
    assert "--first-stage dense: name its run by --candidates" in capsys.readouterr().err


def test_no_rung_is_worse_than_the_first_stage_itself() -> None:
    tables = made_tables(seed=5)
    for table in tables:  # a first stage that knows better than any small sub-network
        table.candidates.prior[:] = table.labels + 0.01 * table.scores[FULL]
        for subnet, scores in table.scores.items():
            if subnet.depth < 6:
                scores[:] = np.random.default_rng(subnet.depth).normal(size=len(scores))
    first = float(np.mean([table.quality(np.argsort(-table.candidates.prior, kind="stable")) for table in tables]))
    ladder = tune(tables, COST, shares=(0.02, 0.05), trials=8)
    for rung in ladder.rungs:
        assert mean_quality(rung.plan, tables, COST, rung.share) >= first - 1e-9


def test_the_command_names_where_to_write(tuning: list[str], capsys: Capture) -> None:
    at = tuning.index("--output")
    with pytest.raises(SystemExit):
        main(tuning[:at] + tuning[at + 2 :])
    assert "required: --output" in capsys.readouterr().err


@pytest.fixture
def nothing_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*_: object) -> None:
        raise AssertionError("pairs were scored")

    monkeypatch.setattr("elasticranker.training.tuning.tables.tabulate", raising)


@pytest.mark.usefixtures("nothing_scored")
def test_nothing_is_overwritten(tmp_path: Path, tuning: list[str], capsys: Capture) -> None:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "precious").write_text("mine")
    assert main(tuning) == 2
    assert "tuned is there already, and is not overwritten: name another --output" in capsys.readouterr().err
    assert files(tmp_path / "tuned") == {"precious": b"mine"}


@pytest.mark.usefixtures("nothing_scored")
def test_a_figure_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, tuning: list[str], capsys: Capture
) -> None:
    (tmp_path / "file").touch()
    assert main([*tuning, "--figure", str(tmp_path / "file" / "front.png")]) != 0
    assert f"cannot write in the folder {tmp_path / 'file'}" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_scored")
@pytest.mark.parametrize("changed", [["--min-queries", "13"], ["--queries", "11"]])
def test_few_queries_are_refused_before_the_work_with_the_number_that_would_do(
    tmp_path: Path, tuning: list[str], capsys: Capture, changed: list[str]
) -> None:
    assert main([*tuning, *changed]) == 2
    error = capsys.readouterr().err
    few, enough = ("12", "13") if "13" in changed else ("11", "12")
    assert f"{few} judged queries" in error and f"{enough} would do (--min-queries {few}" in error
    assert not (tmp_path / "tuned").exists()


def test_a_hundred_queries_would_do_unless_told_otherwise() -> None:
    parsed = build_parser().parse_args(["tune", "--data", "d", "--output", "o"])
    assert parsed.min_queries == 100


def test_a_ladder_that_fits_only_its_own_queries_is_refused(
    tmp_path: Path, tuning: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(command, "HOLDS", 1.5)
    assert main(tuning) == 2
    assert "is not stored" in capsys.readouterr().err
    assert load(tmp_path / "checkpoint").ladder is None
    assert not (tmp_path / "tuned").exists()
