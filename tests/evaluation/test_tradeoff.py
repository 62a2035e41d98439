"""The trade-off experiment: its files, its figures, and that a killed one goes on."""

import math

import pandas as pd
import pytest

from elasticranker.collections import open_collection
from elasticranker.evaluation import interleaved
from elasticranker.evaluation.candidates import load_candidates
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.tradeoff import run_tradeoff
from elasticranker.files import read_json
from elasticranker.runs import read_run
from tests.fakes import FakeRanker, write_collection

EFFECTIVENESS, TIMES = ["RR@10", "nDCG@10", "AP", "R@100"], ["ms_mean", "ms_p50", "ms_p95"]
COLUMNS = ["system", "budget", *EFFECTIVENESS, "gflops_mean", "gflops_max", *TIMES, "p_value"]
BUDGETS = ("100%", "50%", "25%")
QUERIES, DEPTH = 6, 8


@pytest.fixture
def collection(tmp_path, monkeypatch):
    """Six queries whose answer is the last of eight candidates, and one without candidates; labels from 0 to 3."""
    monkeypatch.setenv("ELASTICRANKER_CACHE", str(tmp_path / "cache"))
    docs = [(f"d{n}", f"word{n} text{' more' * n}") for n in range(DEPTH)]
    queries = [(f"q{n}", f"word{(n - 1) % DEPTH}") for n in range(QUERIES)] + [("q-without", "nothing")]
    qrels = [(f"q{n}", f"d{(n - 1) % DEPTH}", 3) for n in range(QUERIES)] + [("q0", "d3", 1), ("q-without", "d0", 2)]
    qrels += [("q1", "d5", 0)]
    folder = write_collection(tmp_path / "collection", queries, docs, qrels)
    lines = [
        f"q{q} Q0 d{(q + rank) % DEPTH} {rank + 1} {DEPTH - rank} t\n" for q in range(QUERIES) for rank in range(DEPTH)
    ]
    (folder / "bm25-run.trec").write_text("".join(lines))
    return open_collection(str(folder))


@pytest.fixture
def experiment(collection, tmp_path):
    """Run the experiment into `out`; returns its table."""

    def call(ranker, **settings) -> pd.DataFrame:
        settings = {"output": tmp_path / "out", "budgets": BUDGETS, "progress": False, **settings}
        return run_tradeoff(collection, ranker, load_candidates(collection, "bm25-run"), **settings)

    return call


def test_a_first_stage_called_like_one_of_ours_is_refused_before_the_measurement(collection, tmp_path):
    (tmp_path / "elastic-50pct.trec").write_text("q1 Q0 d1 1 1.0 t\n")
    candidates = load_candidates(collection, str(tmp_path / "elastic-50pct.trec"))
    ranker = FakeRanker(trace=True)
    with pytest.raises(ValueError, match="the first stage is called 'elastic-50pct', like one of the systems"):
        run_tradeoff(collection, ranker, candidates, output=tmp_path / "out", budgets=["50%"], progress=False)
    assert ranker.scored == [] and not (tmp_path / "out").exists()


def test_files_and_columns(experiment, tmp_path):
    results = experiment(FakeRanker(trace=True))
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    runs = {f"runs/{name}.trec.gz" for name in ("bm25", "elastic-100pct", "elastic-50pct", "elastic-25pct")}
    files = {"results.csv", "tradeoff.png", "report.md", "manifest.json", "journal.jsonl", "lock"}
    assert written == files | runs
    csv = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    assert list(csv.columns) == list(results.columns) == COLUMNS
    assert list(csv["system"]) == ["bm25", "elastic", "elastic", "elastic"]
    assert list(csv["budget"]) == ["", "100%", "50%", "25%"]
    assert list(csv.iloc[0][["gflops_mean", "ms_mean"]]) == ["", ""]
    assert csv.iloc[1]["p_value"] == ""
    assert (tmp_path / "out" / "tradeoff.png").read_bytes().startswith(b"\x89PNG")


def test_effectiveness_by_hand(experiment):
    """Full: every answer comes first. Half of the candidates: the answer, the last of eight, stays last."""
    full, half = experiment(FakeRanker(trace=True)).iloc[[1, 2]].to_dict("records")
    share = QUERIES / (QUERIES + 1)  # the query without candidates counts 0
    assert full["RR@10"] == pytest.approx(share)
    assert full["AP"] == pytest.approx(share)
    assert full["R@100"] == pytest.approx(share)
    assert half["RR@10"] == pytest.approx(share / 8)
    # d3, of gain 1 for q0, stays behind the answer in the order of the candidates: d7, d0, d1, d2, d3
    ideal, found = 3 + 1 / math.log2(3), 3 + 1 / math.log2(6)
    assert full["nDCG@10"] == pytest.approx((QUERIES - 1 + found / ideal) / (QUERIES + 1))


def test_costs_are_those_of_the_trace(experiment):
    full = experiment(FakeRanker(trace=True)).iloc[1]
    words = sum(n + 2 for n in range(DEPTH))
    assert full["gflops_mean"] == full["gflops_max"] == words
    assert 0 < full["ms_p50"] <= full["ms_p95"]


def test_the_full_model_is_tested_against_the_others(experiment):
    results = experiment(FakeRanker(trace=True))
    assert math.isnan(results["p_value"][1])
    assert (results["p_value"][[0, 2, 3]] < 0.01).all()
    assert results["p_value"][2] == results["p_value"][3]  # both find nothing, and Holm keeps them in order


def test_without_the_full_model_nothing_is_tested(experiment):
    assert experiment(FakeRanker(trace=True), budgets=["50%"])["p_value"].isna().all()


def test_the_written_runs_are_what_was_measured(experiment, tmp_path):
    experiment(FakeRanker(trace=True))
    run = read_run(tmp_path / "out" / "runs" / "elastic-100pct.trec.gz")
    assert list(run[run["rank"] == 0]["docno"]) == [f"d{(n - 1) % DEPTH}" for n in range(QUERIES)]
    assert len(run) == QUERIES * DEPTH


def test_manifest_and_report_say_how_it_was_measured(experiment, tmp_path):
    experiment(FakeRanker(trace=True), note="a reduced corpus", arguments={"queries": None})
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert manifest["job"]["checkpoint fingerprint"] == "fingerprint-of-fake"
    assert manifest["job"]["threads"] >= 1
    assert manifest["arguments"] == {"queries": None}
    assert {"python", "torch", "pyterrier"} <= manifest["versions"].keys()
    report = (tmp_path / "out" / "report.md").read_text()
    assert "7 judged queries" in report
    assert "1 of them without candidates" in report
    assert "relevant from label 2" in report
    assert "a reduced corpus" in report


def test_the_relevance_level_can_be_set(experiment, tmp_path):
    strict = experiment(FakeRanker(trace=True))
    lenient = experiment(FakeRanker(trace=True), rel=1, output=tmp_path / "lenient")
    assert strict["AP"][1] > lenient["AP"][1]  # d3 at rank 5 counts for q0 now


def test_an_interrupted_experiment_goes_on(experiment, tmp_path):
    expected = experiment(FakeRanker(trace=True), output=tmp_path / "uninterrupted")
    with pytest.raises(RuntimeError):
        experiment(FakeRanker(trace=True, fails_at="q4"))
    with open(tmp_path / "out" / "journal.jsonl", "a") as journal:
        journal.write('{"qid": "q4", "sys')  # torn by the kill
    resuming = FakeRanker(trace=True)
    results = experiment(resuming)
    pd.testing.assert_frame_equal(results.drop(columns=TIMES), expected.drop(columns=TIMES))
    assert set(resuming.scored) == {"q4", "q5"}
    assert "in 2 sittings" in (tmp_path / "out" / "report.md").read_text()
    for run in (tmp_path / "uninterrupted" / "runs").iterdir():
        assert run.read_bytes() == (tmp_path / "out" / "runs" / run.name).read_bytes()


def test_a_finished_experiment_is_not_measured_again(experiment):
    first = experiment(FakeRanker(trace=True))
    again = FakeRanker(trace=True)
    pd.testing.assert_frame_equal(experiment(again), first)
    assert again.scored == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"budgets": ["100%"]}, r"budgets: \['100%', '50%', '25%'\] there, \['100%'\] here"),
        ({"rel": 1}, "relevance level: 2 there, 1 here"),
    ],
)
def test_another_experiment_in_the_same_folder_is_refused(experiment, change, difference):
    experiment(FakeRanker(trace=True))
    with pytest.raises(ValueError, match=difference):
        experiment(FakeRanker(trace=True), **change)


def test_another_checkpoint_in_the_same_folder_is_refused(experiment):
    experiment(FakeRanker(trace=True))
    with pytest.raises(ValueError, match="checkpoint fingerprint"):
        experiment(FakeRanker("other", trace=True))


@pytest.mark.parametrize("budgets", [["100%", "full"], ["25%", "25 %"], [], ["100%", "fast"]])
def test_bad_budgets_are_refused_before_any_work(experiment, budgets):
    ranker = FakeRanker(trace=True)
    with pytest.raises(ValueError, match="budget"):
        experiment(ranker, budgets=budgets)
    assert ranker.scored == []


def test_a_ranker_that_does_not_trace_is_refused(experiment):
    with pytest.raises(ValueError, match="trace=True"):
        experiment(FakeRanker())


def test_systems_take_turns_in_going_first(experiment, monkeypatch, tmp_path):
    order, original = [], interleaved._timed

    def timed(system, frame):
        order.append(str(system.budget))
        return original(system, frame)

    monkeypatch.setattr(interleaved, "_timed", timed)
    experiment(FakeRanker(trace=True))
    assert order[: 3 * len(BUDGETS) : len(BUDGETS)] == ["full", "50%", "25%"]


def test_a_damaged_journal_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"qid": "1"}\n{"qid": \n')
    with pytest.raises(ValueError, match="line 2: damaged"):
        list(Journal(path))
