"""A fitted calibration says what was observed, and rises for every sub-network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from elasticranker import ElasticRanker
from elasticranker.cli import main
from elasticranker.evaluation.candidates import judged
from elasticranker.model.checkpoint import fingerprint, load, query_key
from elasticranker.planning.plan import Candidates, SubNet
from elasticranker.training.tuning.calibrating import calibrate, calibration_error, reliability
from elasticranker.training.tuning.strangers import strangers
from elasticranker.training.tuning.tables import Table
from tests.planning.test_cost import elastic

GOOD, WEAK, NOISE, WRONG = SubNet(3), SubNet(1), SubNet(0), SubNet(2)


def made_tables(queries: int = 60, candidates: int = 40, *, strange: bool = False, seed: int = 0) -> list[Table]:
    """Relevance drawn with the probability that a hidden log-odds gives; sub-networks see it well, badly, or not."""
    random = np.random.default_rng(seed)
    tables = []
    for _ in range(queries):
        odds = np.full(candidates, -20.0) if strange else random.normal(-3, 3, candidates)
        labels = (random.random(candidates) < expit(odds)).astype(float)
        scores = {
            GOOD: 10 + 0.5 * odds,
            WEAK: 3 + odds + random.normal(0, 3, candidates),
            NOISE: random.normal(0, 1, candidates),
            WRONG: -odds,
        }
        tables.append(Table(Candidates(np.full(candidates, 64), 8, None), scores, labels, GOOD))
    return tables


def test_the_line_of_true_log_odds_is_found() -> None:
    line = calibrate(made_tables(200), made_tables(200, 10, strange=True, seed=1)).lines[GOOD]
    assert line.slope == pytest.approx(2.0, rel=0.1)
    assert line.intercept == pytest.approx(-20.0, rel=0.1)


def test_probabilities_are_what_was_observed_on_other_queries() -> None:
    tables, others = made_tables(), made_tables(60, 10, strange=True, seed=1)
    for subnet, error in reliability(tables, others).items():
        if subnet != WRONG:
            assert error.after < 0.03, subnet
            assert error.after < error.before, subnet


def test_what_sees_nothing_gives_everybody_the_base_rate() -> None:
    tables = made_tables()
    calibration = calibrate(tables, made_tables(60, 10, strange=True, seed=1))
    rate = np.mean([table.labels.mean() for table in tables])
    given = calibration.relevance(calibration.scores(NOISE, np.array([-1.0, 1.0])))
    assert given == pytest.approx([rate * 40 / 50] * 2, abs=0.03)
    assert calibration.relevance(calibration.unread_scores(1)) == pytest.approx([rate])


def test_every_line_rises_even_where_the_scores_are_upside_down() -> None:
    lines = calibrate(made_tables(), made_tables(60, 10, strange=True, seed=1)).lines
    assert all(line.slope > 0 for line in lines.values())
    assert lines[WRONG].slope < 0.01 < lines[WEAK].slope


def test_scores_that_part_all_candidates_keep_a_finite_slope() -> None:
    def parted(labels: list[float]) -> Table:
        scores = {SubNet(1): np.asarray(labels) * 10}
        return Table(Candidates(np.full(len(labels), 8), 8, None), scores, np.asarray(labels), SubNet(1))

    calibration = calibrate([parted([1, 0, 0]), parted([0, 1, 0])], [parted([0, 0]), parted([0, 0])])
    low, high = calibration.relevance(np.array([0.0, 10.0]))
    assert 0 < low < 0.2 and 0.6 < high < 1


def test_a_level_says_what_is_relevant() -> None:
    tables, others = made_tables(), made_tables(60, 10, strange=True, seed=1)
    doubled = [Table(t.candidates, t.scores, 2 * t.labels, t.full) for t in tables]
    assert calibrate(doubled, others, level=2) == calibrate(tables, others)
    with pytest.raises(ValueError, match="label 3 or above"):
        calibrate(doubled, others, level=3)


def test_too_few_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        calibrate(made_tables(1), made_tables(1))
    with pytest.raises(ValueError, match="strangers of 1"):
        calibrate(made_tables(2), made_tables(1))


def test_calibration_error_is_the_gap_between_said_and_seen() -> None:
    said, seen = np.array([0.8, 0.8, 0.8, 0.8, 0.02, 0.02]), np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    assert calibration_error(said, seen) == pytest.approx((4 * 0.05 + 2 * 0.02) / 6)
    assert calibration_error(np.array([1.0]), np.array([1.0])) == 0
    assert np.isnan(calibration_error(np.array([]), np.array([])))


FRAME = pd.DataFrame(
    [(f"q{q}", f"query {q}", f"d{d}", f"text {d}") for q in range(4) for d in range(3 * q, 3 * q + 5)],
    columns=["qid", "query", "docno", "text"],
)


def test_strangers_are_other_queries_candidates_and_never_relevant() -> None:
    relevant = pd.DataFrame({"qid": ["q0", "q0"], "docno": ["d5", "d6"]})
    found = strangers(FRAME, relevant, 4)
    assert found["qid"].unique().tolist() == ["q0", "q1", "q2", "q3"]
    for qid, rows in found.groupby("qid"):
        assert len(rows) == rows["docno"].nunique() == 4
        assert not set(rows["docno"]) & set(FRAME.loc[FRAME["qid"] == qid, "docno"])
    assert not set(found.loc[found["qid"] == "q0", "docno"]) & {"d5", "d6"}
    assert (found["text"] == "text " + found["docno"].str[1:]).all()
    pd.testing.assert_frame_equal(found, strangers(FRAME, relevant, 4))


def test_a_query_alone_has_no_strangers() -> None:
    with pytest.raises(ValueError, match="no other query"):
        strangers(FRAME[FRAME["qid"] == "q0"], pd.DataFrame({"qid": [], "docno": []}), 4)


def test_the_command_calibrates_a_copy_and_nothing_else(
    tmp_path: Path, validation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = elastic(tmp_path / "source").save(tmp_path / "checkpoint", card="# card")
    before, output = fingerprint(folder), tmp_path / "calibrated"
    arguments = ["calibrate", "--model", str(folder), "--data", str(validation), "--candidates", "first"]
    assert main([*arguments, "--strangers", "3", "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "ECE after" in shown and str(output) in shown
    assert fingerprint(folder) == before != fingerprint(output)
    old, new = load(folder), load(output)
    assert set(new.calibration.lines) == set(new.subnets) and not old.calibration.lines
    assert new.provenance["calibrated_on"]["strangers"] == 12 * 3
    assert {name: tensor.sum() for name, tensor in old.encoder.state_dict().items()} == {
        name: tensor.sum() for name, tensor in new.encoder.state_dict().items()
    }
    first = (validation / "queries.tsv").read_text().split("\n")[0].split("\t")[1]
    assert query_key(first) in ElasticRanker(str(output)).tuned_on
    assert "expected calibration error" in (output / "README.md").read_text()
    json.loads((output / "elastic.json").read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))

    assert main([*arguments, "--output", str(output)]) == 2
    assert "name another --output" in capsys.readouterr().err


def test_nothing_relevant_is_found_out_before_any_scoring(
    tmp_path: Path, validation: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from elasticranker.training.tuning import tables

    monkeypatch.setattr(tables, "make_tables", lambda *_: pytest.fail("scored"))
    folder = elastic(tmp_path / "source").save(tmp_path / "checkpoint")
    (validation / "qrels.txt").write_text("".join(f"q{q} 0 d0 0\n" for q in range(12)))
    arguments = ["--model", str(folder), "--data", str(validation), "--candidates", "first"]
    assert main(["calibrate", *arguments, "--output", str(tmp_path / "new")]) == 2
    assert "nothing to calibrate on" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["tune", *arguments, "--output", str(tmp_path / "new"), "--min-queries", "12"]) == 2
    assert "nothing to calibrate on" in capsys.readouterr().err


def test_queries_that_the_ladder_was_tuned_on_come_first(validation: Path) -> None:
    from elasticranker.collections import open_collection

    collection = open_collection(str(validation))
    queries = collection.queries()
    seen = {query_key(query) for query in queries["query"][:5]}
    assert judged(collection, preferred=seen)[0]["qid"].tolist() == queries["qid"][:5].tolist()
    assert len(judged(collection, 3, preferred=seen)[0]) == 3
    assert len(judged(collection, preferred={"unknown"})[0]) == 12
