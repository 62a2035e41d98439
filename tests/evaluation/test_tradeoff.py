"""The trade-off experiment: its files, its figures, and that a killed one goes on."""

import math

import pandas as pd
import pytest

from elasticranker.collections import open_collection
from elasticranker.evaluation import interleaved
from elasticranker.evaluation.candidates import load_candidates
from elasticranker.evaluation.comparing import run_tradeoff
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.measures import holm, paired_t
from elasticranker.evaluation.systems import named_systems
from elasticranker.files import read_json
from elasticranker.runs import read_run
from tests.fakes import FakeRanker, write_collection

EFFECTIVENESS, TIMES = ["RR@10", "nDCG@10", "AP", "R@100"], ["ms_mean", "ms_p50", "ms_p95"]
TESTS = [f"p {measure}" for measure in EFFECTIVENESS]
COLUMNS = ["system", "budget", *EFFECTIVENESS, "gflops_mean", "gflops_max", *TIMES, *TESTS]
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

    def call(ranker, budgets=BUDGETS, name="elastic", output=tmp_path / "out", **settings) -> pd.DataFrame:
        about = {"rel": collection.relevance_level(), "title": collection.name, "progress": False}
        candidates = load_candidates(collection, "bm25-run")
        return run_tradeoff(candidates, named_systems(ranker, budgets, name), folder=output, **about | settings).table

    return call


def read_report(folder) -> str:
    return (folder / "report.md").read_text()


def test_a_first_stage_called_like_one_of_ours_is_refused_before_the_measurement(collection, tmp_path):
    (tmp_path / "elastic-50pct.trec").write_text("q1 Q0 d1 1 1.0 t\n")
    candidates = load_candidates(collection, str(tmp_path / "elastic-50pct.trec"))
    ranker = FakeRanker(trace=True)
    with pytest.raises(ValueError, match="the first stage is called 'elastic-50pct', like one of the systems"):
        run_tradeoff(candidates, named_systems(ranker, ["50%"]), folder=tmp_path / "out", progress=False)
    assert ranker.scored == [] and not (tmp_path / "out").exists()


def test_files_and_columns(experiment, tmp_path):
    results = experiment(FakeRanker(trace=True))
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    runs = {f"runs/{name}.trec.gz" for name in ("bm25", "elastic-100pct", "elastic-50pct", "elastic-25pct")}
    files = {"results.csv", "per_query.csv", "tradeoff.png", "report.md", "manifest.json", "journal.jsonl", "lock"}
    assert written == files | runs
    csv = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    assert list(csv.columns) == list(results.columns) == COLUMNS
    assert list(csv["system"]) == ["bm25", "elastic", "elastic", "elastic"]
    assert list(csv["budget"]) == ["", "100%", "50%", "25%"]
    assert list(csv.iloc[0][["gflops_mean", "ms_mean"]]) == ["", ""]
    assert list(csv.iloc[1][TESTS]) == [""] * 4
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


def test_every_measure_is_tested_against_the_full_model(experiment):
    results = experiment(FakeRanker(trace=True))
    assert results[TESTS].iloc[1].isna().all()
    for measure in ("RR@10", "nDCG@10", "AP"):
        tests = results[f"p {measure}"]
        assert (tests[[0, 2, 3]] < 0.01).all()
        assert tests[2] == tests[3]  # both find nothing, and Holm keeps them in order
    assert (results["p R@100"][[0, 2, 3]] == 1).all()  # nothing is lost, only moved


@pytest.mark.parametrize(("baseline", "row"), [("bm25", 0), ("50%", 2), ("elastic 25%", 3)])
def test_any_system_may_be_the_baseline(experiment, tmp_path, baseline, row):
    results = experiment(FakeRanker(trace=True), baseline=baseline)
    untested = [at for at in range(4) if results.iloc[at][TESTS].isna().all()]
    assert untested == [row]
    assert f"paired t-test against {baseline if row in (0, 3) else 'elastic 50%'}" in read_report(tmp_path / "out")


def test_p_values_are_those_of_the_paired_t_test(experiment, tmp_path):
    results = experiment(FakeRanker(trace=True), budgets=["100%", "50%"], baseline="50%")
    queries = pd.read_csv(tmp_path / "out" / "per_query.csv", keep_default_na=False)
    by_budget = {budget: rows.set_index("qid")["AP"] for budget, rows in queries.groupby("budget")}
    raw = [paired_t(by_budget[budget], by_budget["50%"]) for budget in ("", "100%")]
    assert list(results["p AP"][[0, 1]]) == pytest.approx(holm(raw))


def test_an_unknown_baseline_is_refused_before_any_work(experiment):
    ranker = FakeRanker(trace=True)
    with pytest.raises(
        ValueError, match=r"baseline='10%': .*choose among bm25, elastic 100%, elastic 50%, elastic 25%"
    ):
        experiment(ranker, baseline="10%")
    assert ranker.scored == []


def test_without_the_full_model_nothing_is_tested(experiment, tmp_path):
    assert experiment(FakeRanker(trace=True), budgets=["50%"])[TESTS].isna().all(axis=None)
    assert "t-test" not in read_report(tmp_path / "out")


def test_measures_are_any_of_ir_measures(experiment, tmp_path):
    measures = ["P(rel=1)@5", "nDCG@3", "AP"]
    full = experiment(FakeRanker(trace=True), measures=measures).iloc[1]
    assert list(full.index[2:5]) == measures
    # q0 has d7 and, of gain 1, d3 at rank 5; the others their answer; one query has no candidates
    assert full["P(rel=1)@5"] == pytest.approx((2 + (QUERIES - 1)) / 5 / (QUERIES + 1))
    assert list(pd.read_csv(tmp_path / "out" / "per_query.csv").columns[3:6]) == measures


@pytest.mark.parametrize("measures", [["Fame@10"], ["RR@10", "RR(rel=2)@10"], [], ["RR@"]])
def test_unknown_measures_are_refused_before_any_work(experiment, measures):
    ranker = FakeRanker(trace=True)
    with pytest.raises(ValueError, match="measure"):
        experiment(ranker, measures=measures)
    assert ranker.scored == []


def test_measures_of_every_query_beside_their_costs(experiment, tmp_path):
    results = experiment(FakeRanker(trace=True))
    queries = pd.read_csv(tmp_path / "out" / "per_query.csv", keep_default_na=False)
    assert list(queries.columns) == ["qid", "system", "budget", *EFFECTIVENESS, "gflops", "ms"]
    assert len(queries) == 4 * (QUERIES + 1)
    half = queries[queries["budget"] == "50%"]
    assert half["AP"].mean() == pytest.approx(results["AP"][2])
    costs = half[half["qid"] != "q-without"]["gflops"].astype(float)
    assert costs.mean() == pytest.approx(results["gflops_mean"][2])
    assert set(queries[queries["system"] == "bm25"]["ms"]) == set(half[half["qid"] == "q-without"]["ms"]) == {""}


def test_the_written_runs_are_what_was_measured(experiment, tmp_path):
    experiment(FakeRanker(trace=True))
    run = read_run(tmp_path / "out" / "runs" / "elastic-100pct.trec.gz")
    assert list(run[run["rank"] == 0]["docno"]) == [f"d{(n - 1) % DEPTH}" for n in range(QUERIES)]
    assert len(run) == QUERIES * DEPTH


def test_manifest_and_report_say_how_it_was_measured(experiment, tmp_path):
    experiment(FakeRanker(trace=True), note="a reduced corpus", arguments={"queries": None})
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert manifest["systems"]["elastic 50%"]["checkpoint fingerprint"] == "fingerprint-of-fake"
    assert manifest["job"]["threads"] >= 1
    assert manifest["arguments"] == {"queries": None}
    assert {"python", "torch", "pyterrier"} <= manifest["systems"]["elastic 50%"]["versions"].keys()
    report = read_report(tmp_path / "out")
    assert report.startswith("# Effectiveness against cost: collection\n")
    assert str(tmp_path) not in report  # no path of this machine
    assert "7 judged queries" in report
    assert "1 of them without candidates" in report
    assert "relevant from label 2" in report
    assert "a reduced corpus" in report


def test_the_relevance_level_can_be_set_without_measuring_again(experiment):
    strict = experiment(FakeRanker(trace=True))
    again = FakeRanker(trace=True)
    lenient = experiment(again, rel=1)
    assert strict["AP"][1] > lenient["AP"][1]  # d3 at rank 5 counts for q0 now
    assert again.scored == []


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
    assert "in 2 sittings" in read_report(tmp_path / "out")
    for run in (tmp_path / "uninterrupted" / "runs").iterdir():
        assert run.read_bytes() == (tmp_path / "out" / "runs" / run.name).read_bytes()


def test_a_finished_experiment_is_not_measured_again(experiment):
    first = experiment(FakeRanker(trace=True))
    again = FakeRanker(trace=True)
    pd.testing.assert_frame_equal(experiment(again), first)
    assert again.scored == []


def test_a_budget_that_comes_later_is_measured_alone(experiment, tmp_path):
    before = experiment(FakeRanker(trace=True), budgets=["100%", "25%"])
    times = [row["ms_mean"] for row in before.to_dict("records")[1:]]
    later = FakeRanker(trace=True)
    grown = experiment(later, budgets=["50%", "5 GFLOPs"])
    assert sorted(later.scored) == sorted(2 * [f"q{n}" for n in (0, 1, 2)] + 2 * [f"q{n}" for n in range(QUERIES)])
    assert list(grown["budget"]) == ["", "100%", "5 GFLOPs", "50%", "25%"]  # from dear to cheap
    assert [grown["ms_mean"][at] for at in (1, 4)] == times  # what was measured stays
    assert grown["RR@10"][3] < grown["RR@10"][1]
    assert "measured in different sittings" in read_report(tmp_path / "out")
    in_one = experiment(FakeRanker(trace=True), budgets=["100%", "50%", "25%", "5 GFLOPs"], output=tmp_path / "in-one")
    pd.testing.assert_frame_equal(grown.drop(columns=TIMES), in_one.drop(columns=TIMES))


def test_another_ranker_comes_under_another_name(experiment, tmp_path):
    experiment(FakeRanker(trace=True), budgets=["100%", "50%"])
    grown = experiment(FakeRanker("other", trace=True), budgets=["full"], name="other", baseline="elastic 100%")
    assert list(grown["system"]) == ["bm25", "elastic", "elastic", "other"]
    assert grown["p AP"][3] == 1
    assert (tmp_path / "out" / "runs" / "other-100pct.trec.gz").exists()
    report = read_report(tmp_path / "out")
    assert "elastic: checkpoint fingerprint-, dtype float32; other: checkpoint fingerprint-" in report


def test_another_ranker_under_the_same_name_is_refused(experiment):
    experiment(FakeRanker(trace=True))
    with pytest.raises(
        ValueError, match=r"elastic 25% .*checkpoint fingerprint.*give this one another name \(--name\)"
    ):
        experiment(FakeRanker("other", trace=True), budgets=["25%"])


def test_what_was_never_measured_claims_no_name(experiment):
    with pytest.raises(ValueError, match="trace=True"):
        experiment(FakeRanker())
    assert len(experiment(FakeRanker("other", trace=True))) == 4


def test_a_system_that_was_not_finished_waits_for_its_turn(experiment, tmp_path):
    with pytest.raises(RuntimeError):
        experiment(FakeRanker(trace=True, fails_at="q4"), budgets=["100%", "25%"])
    results = experiment(FakeRanker(trace=True), budgets=["100%"])
    assert list(results["budget"]) == ["", "100%"]
    assert "not finished, so not in the table: elastic 25%" in read_report(tmp_path / "out")
    with pytest.raises(ValueError, match="baseline='25%'"):
        experiment(FakeRanker(trace=True), budgets=["100%"], baseline="25%")
    assert list(experiment(FakeRanker(trace=True), budgets=["25%"])["budget"]) == ["", "100%", "25%"]
    assert "not finished" not in read_report(tmp_path / "out")


def test_other_candidates_in_the_same_folder_are_refused(experiment, collection, tmp_path):
    experiment(FakeRanker(trace=True))
    fewer = load_candidates(collection, "bm25-run", k=3)
    with pytest.raises(ValueError, match=r"candidates: 48 there, 18 here"):
        systems = named_systems(FakeRanker(trace=True), BUDGETS)
        run_tradeoff(fewer, systems, folder=tmp_path / "out", title=collection.name, progress=False)


@pytest.mark.parametrize("name", ["", "two words", "a/b"])
def test_a_name_that_no_file_can_have_is_refused(experiment, name):
    with pytest.raises(ValueError, match=f"name='{name}'"):
        experiment(FakeRanker(trace=True), name=name)


def test_other_work_beside_the_measurement_is_told(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (97.25, 1.0, 1.0))
    experiment(FakeRanker(trace=True))
    assert "Warning: the load average was up to 97.2 on" in read_report(tmp_path / "out")
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 1.0, 1.0))
    experiment(FakeRanker(trace=True), output=tmp_path / "idle")
    assert "Warning" not in read_report(tmp_path / "idle")


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
