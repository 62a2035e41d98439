"""The routing experiment end to end on a made collection, with rankers that cost nothing."""

import pandas as pd
import pyterrier as pt
import pytest

from elasticranker.collections import open_collection
from elasticranker.evaluation.candidates import load_candidates
from elasticranker.files import read_json
from experiments import routing
from experiments.routed import COLUMNS
from experiments.routing import run_routing
from tests.fakes import FakeRanker, write_collection

QUERIES, DEPTH = 8, 6
SETTINGS = {"shares": [0.25, 0.5], "energies": ["margin", "entropy"], "progress": False}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Even queries are easy (the answer comes first, by far); in odd ones it comes last of nearly equal scores."""
    monkeypatch.setenv("ELASTICRANKER_CACHE", str(tmp_path / "cache"))
    docs = [(f"d{n}", f"word{n} text") for n in range(QUERIES)]
    queries = [(f"q{n}", f"word{n}") for n in range(QUERIES)] + [("q-without", "nothing")]
    qrels = [(f"q{n}", f"d{n}", 1) for n in range(QUERIES)] + [("q-without", "d0", 1)]
    path = write_collection(tmp_path / "collection", queries, docs, qrels)
    lines = []
    for q in range(QUERIES):
        docnos = [f"d{(q + rank) % QUERIES}" for rank in range(DEPTH)]
        scores = [20.0 + q, *range(DEPTH - 1, 0, -1)]
        if q % 2:
            docnos, scores = docnos[::-1], [DEPTH - (0.1 + 0.01 * q) * rank for rank in range(DEPTH)]
        lines += [f"q{q} Q0 {d} 1 {s} t\n" for d, s in zip(docnos, scores, strict=True)]
    (path / "first.trec").write_text("".join(lines))
    return path


@pytest.fixture
def experiment(folder, tmp_path):
    """Run the experiment into `out`; returns its table by share and system."""
    collection = open_collection(str(folder))

    def call(swift=None, super=None, **settings) -> pd.DataFrame:
        swift, super = swift or pt.Transformer.identity(), super or FakeRanker(trace=True)
        settings = {"output": tmp_path / "out", **SETTINGS, **settings}
        results = run_routing(collection, swift, super, load_candidates(collection, "first"), **settings)
        return results.set_index(["share", "system"])

    return call


def test_an_energy_that_knows_the_hard_queries_reaches_super_below_its_cost(experiment):
    results = experiment()
    judged = QUERIES / (QUERIES + 1)
    assert results.loc[(0.5, "margin"), "RR@10"] == pytest.approx(judged)
    assert results["gflops_mean"].iloc[1] == 2 * DEPTH
    assert results.loc[(0.5, "margin"), "super_share"] < 0.7
    assert results.loc[(0.5, "margin"), "gflops_mean"] == 2 * DEPTH * results.loc[(0.5, "margin"), "super_share"]
    assert results.loc[(0.5, "random"), "RR@10"] == pytest.approx(judged * (0.5 + 0.5 * (0.5 + 0.5 / DEPTH)))
    assert results.loc[(0.5, "oracle"), "RR@10"] == results.loc[(0.5, "margin"), "RR@10"]


def test_the_uniform_budget_costs_what_routing_costs(experiment, tmp_path):
    results = experiment(swift=FakeRanker(budget="25%", trace=True))
    systems = read_json(tmp_path / "out" / "manifest.json")["job"]["systems"]
    assert systems[2:] == ["uniform 50%", "uniform 75%"]  # 25 % for Swift, and a quarter or half of 100 % for Super
    assert results.loc[(0.5, "uniform"), "gflops_mean"] == 2 * int(0.75 * DEPTH)


def test_every_query_is_scored_once_by_each_ranker(experiment):
    swift, super = FakeRanker(budget="50%", trace=True), FakeRanker(trace=True)
    experiment(swift=swift, super=super, shares=[0.25])
    warm_up = 3
    assert len(swift.scored) == QUERIES + warm_up
    assert len(super.scored) == 2 * (QUERIES + warm_up)  # itself and its uniform sibling


def test_another_choice_of_energies_or_seed_measures_nothing_again(experiment):
    super = FakeRanker(trace=True)
    experiment(super=super)
    super.scored.clear()
    results = experiment(super=super, energies=["std"], seed=5, top_k=3)
    assert not super.scored
    assert "std" in results.index.get_level_values("system")


def test_another_ranker_under_the_same_output_is_refused(experiment):
    experiment()
    with pytest.raises(ValueError, match="super"):
        experiment(super=FakeRanker("other", trace=True))


def test_files_report_and_manifest(experiment, tmp_path):
    experiment(note="made up")
    out = tmp_path / "out"
    written = {path.name for path in out.iterdir()}
    assert written == {"results.csv", "routing.png", "report.md", "manifest.json", "journal.jsonl", "lock"}
    csv = pd.read_csv(out / "results.csv")
    assert list(csv.columns) == list(COLUMNS)
    systems = ["uniform", "random", "margin", "entropy", "oracle"]
    assert csv["system"].tolist() == ["swift", "super", *systems, *systems]
    assert (out / "routing.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.md").read_text()
    assert "Swift: IdentityTransformer. Super: FakeRanker (full, checkpoint fingerprint-)" in report
    assert "8 queries with candidates (of 9 judged)" in report
    assert "made up" in report
    assert report.index("- margin: ") < report.index("- entropy: ")
    manifest = read_json(out / "manifest.json")
    assert manifest["arguments"] == {"energies": ["margin", "entropy"], "shares": [0.25, 0.5], "top_k": None, "seed": 0}


def test_black_boxes_need_a_cost_and_have_no_uniform_sibling(experiment, tmp_path):
    last_first = pt.apply.doc_score(lambda row: -row["score"])
    with pytest.raises(ValueError, match="give super_cost"):
        experiment(super=last_first)
    results = experiment(super=last_first, super_cost=2e9, output=tmp_path / "again")
    assert results["gflops_mean"].iloc[1] == 2 * DEPTH
    assert "uniform" not in results.index.get_level_values("system")
    assert results[["over_uniform", "p_uniform"]].isna().all(axis=None)


@pytest.mark.parametrize(
    "wrong", [{"energies": ["random"]}, {"energies": []}, {"shares": [1.5]}, {"energies": ["heat"]}]
)
def test_nonsense_is_refused_before_any_work(experiment, tmp_path, wrong):
    super = FakeRanker(trace=True)
    with pytest.raises(ValueError, match=r"energies=|unknown energy"):
        experiment(super=super, **wrong)
    assert not super.scored
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("swift", ["identity", "50%"])
def test_the_command_prints_the_table_and_where_its_files_are(folder, tmp_path, monkeypatch, capsys, swift):
    def fake(args, budget, trace):
        return FakeRanker(budget=budget, trace=trace)

    monkeypatch.setattr("elasticranker.commands.arguments.make_ranker", fake)
    arguments = [str(folder), "--candidates", "first", "--swift", swift, "--shares", "50%", "--energies", "margin"]
    assert routing.main([*arguments, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("system")
    assert "Swift: " in printed
    assert f"{tmp_path}/out/routing.png" in printed


def test_the_command_turns_errors_into_one_line(folder, tmp_path, capsys):
    assert routing.main([str(folder), "--candidates", "nowhere", "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("experiments.routing: error: ")
