"""What a PyTerrier user may rely on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticranker import Budget, ElasticRanker
from elasticranker.planning.plan import SubNet
from tests.backbones import WORDS, save_backbone
from tests.fakes import FakeBar
from tests.planning.test_cost import elastic

RANDOM = np.random.default_rng(3)


def words(count: int) -> str:
    return " ".join(RANDOM.choice(WORDS, count))


def frame(queries: int = 3, candidates: int = 30) -> pd.DataFrame:
    rows = [
        (f"q{q}", f"who copies the {WORDS[q]}", f"d{c}", words(int(RANDOM.integers(1, 40))), float(candidates - c), c)
        for q in range(queries)
        for c in range(candidates)
    ]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])


@pytest.fixture(scope="module")
def vanilla(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_backbone(tmp_path_factory.mktemp("vanilla"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(elastic(tmp_path_factory.mktemp("source")).save(tmp_path_factory.mktemp("elastic")))


@cache
def tiny() -> str:
    return save_backbone(Path(tempfile.mkdtemp()))


class TestCitizenship(pt.testing.transformer_test_class(lambda: ElasticRanker(tiny()))):  # type: ignore[misc]
    """PyTerrier's own checks, which load no weights."""


def test_importing_starts_no_jvm_and_no_torch() -> None:
    code = "import sys, elasticranker; assert 'torch' not in sys.modules and 'pyterrier' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_making_a_ranker_loads_nothing(vanilla: str) -> None:
    ranker = ElasticRanker(vanilla, budget="5%")
    assert "checkpoint" not in vars(ranker._loaded)
    empty = ranker(frame().iloc[:0])
    assert list(empty.columns) == ["qid", "query", "docno", "text", "score", "rank"]
    assert "checkpoint" not in vars(ranker._loaded)


@pytest.mark.parametrize("budget", ["full", "50%", "25%", "10%", "2 MFLOPs"])
def test_every_row_comes_back_with_its_columns(checkpoint: str, budget: str) -> None:
    given_frame = frame().assign(extra=range(90)).sample(frac=1, random_state=0)
    result = ElasticRanker(checkpoint, budget=budget)(given_frame)
    key = ["qid", "docno", "text", "extra"]
    pd.testing.assert_frame_equal(
        result[key].sort_values("extra", ignore_index=True), given_frame[key].sort_values("extra", ignore_index=True)
    )
    for _, rows in result.groupby("qid"):
        assert rows["rank"].tolist() == list(range(30))
        assert (np.diff(rows["score"].astype(np.float32)) < 0).all()


@pytest.mark.parametrize("budget", ["50%", "25%", "10%", "5%"])
def test_trace_shows_that_the_budget_is_kept_and_used(checkpoint: str, budget: str) -> None:
    ranker = ElasticRanker(checkpoint, budget=budget, trace=True)
    candidates = frame(6, 100)
    spent = ranker(candidates).groupby("qid")["spend"].sum()
    allowed = ranker.full_cost(candidates) * ranker.budget.value
    assert (spent <= allowed).all()
    assert (spent / allowed).mean() >= 0.9


def test_candidates_that_went_deeper_rank_higher(checkpoint: str) -> None:
    result = ElasticRanker(checkpoint, budget="20%", trace=True)(frame())
    for _, rows in result.groupby("qid"):
        assert rows["exit_depth"].is_monotonic_decreasing
        rest = rows[rows["exit_depth"] < 0]
        assert rest["docno"].str[1:].astype(int).is_monotonic_increasing


def test_an_ordinary_cross_encoder_gets_a_training_free_filter(vanilla: str) -> None:
    ranker = ElasticRanker(vanilla, budget="25%", trace=True)
    result = ranker(frame())
    assert set(result["exit_depth"]) == {0, 3}
    assert ranker.ladder.table()["plan"].tolist() == ["0:50%+1 > 3:50%"]


def test_an_ordinary_cross_encoders_relevance_is_its_logits_sigmoid_and_its_filter_claims_none(vanilla: str) -> None:
    ranker = ElasticRanker(vanilla, budget="25%", trace=True)
    part, full = ranker(frame()), ranker.with_budget("full")(frame())
    np.testing.assert_allclose(ranker.relevance(full["score"]), 1 / (1 + np.exp(-full["score"])), atol=1e-12)
    assert (ranker.relevance(part.loc[part["exit_depth"] == 0, "score"]) < 0.5).all()


def test_other_queries_change_nothing(checkpoint: str) -> None:
    candidates = frame(4)
    ranker = ElasticRanker(checkpoint, budget="25%", dtype="float32")
    together = ranker(candidates)
    for qid, rows in candidates.groupby("qid"):
        alone = ranker(rows)
        expected = together[together["qid"] == qid]
        assert alone["docno"].tolist() == expected["docno"].tolist()
        np.testing.assert_allclose(alone["score"], expected["score"], atol=1e-4)


def test_duplicates_keep_their_incoming_order_and_differ_in_score(vanilla: str) -> None:
    same = frame(1, 5).assign(text="the river bank")
    result = ElasticRanker(vanilla)(same)
    assert result["docno"].tolist() == ["d0", "d1", "d2", "d3", "d4"]
    assert result["score"].astype(np.float32).is_unique


ODD = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["", " ", "\x00\x07", "\ud800", "🦊" * 50, "a" * 100_000, "river " * 500, "‮abc", "[SEP] [CLS]"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ODD, min_size=1, max_size=6), ODD, st.sampled_from(["full", "30%", "1%"]))
def test_no_text_however_odd_loses_a_row(checkpoint: str, texts: list[str], query: str, budget: str) -> None:
    # pandas' own text columns, where pyarrow is installed, don't hold lone surrogates; object columns do.
    rows = pd.DataFrame({"qid": "1", "query": query, "docno": "same", "text": texts}, dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that long texts are cut
        result = _shared(checkpoint).with_budget(budget)(rows)
    assert sorted(result["text"]) == sorted(texts)
    assert np.isfinite(result["score"]).all()


@cache
def _shared(model: str) -> ElasticRanker:
    return ElasticRanker(model)


def test_ten_thousand_candidates(checkpoint: str) -> None:
    many = frame(1, 20)
    many = pd.concat([many.assign(docno=many["docno"] + f"-{i}") for i in range(500)], ignore_index=True)
    result = ElasticRanker(checkpoint, budget="1%", trace=True)(many.assign(rank=range(len(many)), score=-many.index))
    assert len(result) == 10_000
    assert result["score"].astype(np.float32).is_monotonic_decreasing and result["score"].is_unique


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_text_is_an_error_that_names_the_document(vanilla: str, missing: object) -> None:
    rows = frame(1, 5).astype({"text": object})
    rows.loc[2, "text"] = missing
    with pytest.raises(
        ValueError, match=r"'text' has no text in 1 of 5 rows, the first is row 2 .*qid 'q0', docno 'd2'"
    ):
        ElasticRanker(vanilla)(rows)


def test_a_missing_text_column_names_the_remedy(vanilla: str) -> None:
    with pytest.raises(KeyError, match="text_loader"):
        ElasticRanker(vanilla)(frame().drop(columns="text"))
    ElasticRanker(vanilla, text_field="body")(frame(1, 2).rename(columns={"text": "body"}))


def test_long_texts_are_cut_counted_and_warned_about_once(vanilla: str) -> None:
    ranker = ElasticRanker(vanilla, max_length=24, max_query_length=4)
    rows = frame(2, 3).assign(text="river " * 100)
    with pytest.warns(UserWarning, match="max_length=24") as caught:
        ranker(rows)
    assert ranker.truncated == 6
    assert len([w for w in caught if "max_length=24" in str(w.message)]) == 1


def test_depth_is_a_cut_off_that_a_retriever_can_take_over(vanilla: str) -> None:
    ranker = ElasticRanker(vanilla, depth=5)
    assert ranker(frame()).groupby("qid").size().tolist() == [5, 5, 5]
    compiled = ranker.compile()
    assert compiled[0] == pt.RankCutoff(5)
    rows = frame(2)
    pd.testing.assert_frame_equal(compiled(rows), ranker(rows))


def test_siblings_share_weights_and_are_equal_by_value(vanilla: str) -> None:
    ranker = ElasticRanker(vanilla)
    half = ranker.with_budget("50%")
    assert half._loaded is ranker._loaded
    assert half == ElasticRanker(vanilla, budget="50 %") and hash(half) == hash(ElasticRanker(vanilla, budget="50%"))
    assert half != ranker
    assert repr(half) == f"ElasticRanker({vanilla!r}, budget='50%')"


def test_pyterrier_remakes_it_with_another_budget(checkpoint: str) -> None:
    ranker = ElasticRanker(checkpoint, budget="5%", dtype="float32", depth=20, max_query_length=16, trace=True)
    half = pt.inspect.transformer_apply_attributes(ranker, budget="50%")
    assert half == ranker.with_budget("50%") and ranker.budget == Budget("5%")
    rows = frame(2)
    pd.testing.assert_frame_equal(half(rows), ranker.with_budget("50%")(rows))
    with pytest.raises(ValueError, match="budget='fast'"):
        pt.inspect.transformer_apply_attributes(ranker, budget="fast")


@pytest.mark.filterwarnings("ignore:texts longer than")
def test_pyterrier_searches_over_its_arguments(checkpoint: str) -> None:
    rows = frame(2)
    topics, qrels = rows[["qid", "query"]].drop_duplicates(), rows[["qid", "docno"]].assign(label=rows["rank"] % 3)
    arguments = {"dtype": "float32", "max_query_length": 16}
    ranker = ElasticRanker(checkpoint, **arguments)
    grid = {ranker: {"budget": ["10%", "50%"], "max_length": [24, 40]}}
    pipeline = pt.Transformer.from_df(rows) >> ranker
    scanned = pt.GridScan(pipeline, grid, topics, qrels, ["ndcg"], verbose=False, dataframe=False)
    found = {tuple(value for _, _, value in chosen): measured["ndcg"] for chosen, measured in scanned}
    assert found == {
        (budget, length): pt.Evaluate(
            ElasticRanker(checkpoint, budget=budget, max_length=length, **arguments)(rows), qrels, ["ndcg"]
        )["ndcg"]
        for budget in ("10%", "50%")
        for length in (24, 40)
    }


def test_a_searched_budget_keeps_the_loaded_weights(checkpoint: str) -> None:
    ranker = ElasticRanker(checkpoint)
    loaded = ranker._loaded
    ranker.set_parameter("budget", "25%")
    assert ranker.budget == Budget("25%") and ranker._loaded is loaded
    with pytest.raises(ValueError, match="budget='fast'"):
        ranker.set_parameter("budget", "fast")
    assert ranker.budget == Budget("25%")


def test_a_time_budget_ranks_what_it_can(checkpoint: str) -> None:
    rows = frame(2)
    tiny = ElasticRanker(checkpoint, budget="1 us", trace=True)(rows)
    assert len(tiny) == len(rows)
    ample = ElasticRanker(checkpoint, budget="60 s", dtype="float32")(rows)
    assert ample["docno"].tolist() == ElasticRanker(checkpoint, dtype="float32")(rows)["docno"].tolist()


@pytest.mark.parametrize("budget", ["full", "25%", "10%", "60 s"])
def test_the_bar_moves_with_every_batch_and_ends_at_the_last_pair(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, budget: str
) -> None:
    moving = FakeBar()
    monkeypatch.setattr("elasticranker.ranker.bar", lambda **_: moving)
    ElasticRanker(checkpoint, budget=budget, batch_size=64, verbose=True)(frame(3))
    assert moving.places == sorted(moving.places)
    assert moving.n == 90
    assert len(set(moving.places)) > 4  # one chunk of three queries: it used to move once


def test_verbose_shows_loading_and_pairs(vanilla: str, capsys: pytest.CaptureFixture[str]) -> None:
    ElasticRanker(vanilla)(frame(1))
    assert capsys.readouterr().err == ""
    ranker = ElasticRanker(vanilla, budget="60 s", verbose=True)
    ranker(frame(1))
    shown = capsys.readouterr().err
    for name in (f"loading {Path(vanilla).name}", "measuring speed", "ElasticRanker"):
        assert f"{name}: 100%" in shown
    ranker(frame(1))
    assert "loading" not in capsys.readouterr().err


@pytest.mark.parametrize("budget", ["full", "25%", "2 MFLOPs", "60 s"])
def test_warming_up_loads_and_runs_and_leaves_no_trace(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, budget: str
) -> None:
    ranker = ElasticRanker(checkpoint, budget=budget, text_field="body", max_length=24, max_query_length=4, depth=40)
    assert ranker.warm_up() is ranker
    assert ranker.truncated == 0 and not [w for w in recwarn if "max_length" in str(w.message)]

    def loading(*_: object) -> None:
        raise AssertionError("loaded, cut or measured after the warm-up")

    rows = frame(1).rename(columns={"text": "body"}).assign(body="a river")
    monkeypatch.setattr("elasticranker.model.loaded.load", loading)
    monkeypatch.setattr("elasticranker.model.speed.measure_speed", loading)
    monkeypatch.setattr(type(ranker.engine.encoder), "weights", loading)
    assert len(ranker(rows)) == len(rows)


def test_an_experiment_of_siblings_warns_of_nothing(checkpoint: str) -> None:
    rows = frame(2)
    first, ranker = pt.Transformer.from_df(rows), ElasticRanker(checkpoint, budget="25%")
    systems = [first, first >> ranker.warm_up(), first >> ranker.with_budget("full").warm_up()]
    topics = rows[["qid", "query"]].drop_duplicates()
    qrels = pd.DataFrame({"qid": ["q0", "q1"], "docno": ["d1", "d2"], "label": [1, 1]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = pt.Experiment(systems, topics, qrels, ["recip_rank", "mrt"], plan="tree")
    assert len(table) == 3


def test_it_works_in_pipelines_and_experiments(checkpoint: str) -> None:
    rows = frame(2)
    ranker = ElasticRanker(checkpoint, budget="25%")
    first = pt.Transformer.from_df(rows)
    topics = rows[["qid", "query"]].drop_duplicates()
    qrels = pd.DataFrame({"qid": ["q0", "q1"], "docno": ["d1", "d2"], "label": [1, 1]})
    table = pt.Experiment([first, first >> ranker, first >> ranker % 3], topics, qrels, ["recip_rank"])
    assert len(table) == 3
    assert len(list((first >> ranker).transform_iter(topics.to_dict("records")))) == len(rows)
    assert "ElasticRanker" in pt.schematic.draw(ranker)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": "fast"}, "budget='fast'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"depth": -1}, "depth=-1"),
        ({"dtype": "int3"}, "dtype='int3'"),
        ({"model": "./nowhere"}, "no such folder"),
    ],
)
def test_bad_arguments_are_named_at_once(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElasticRanker(**arguments)


def test_a_max_length_beyond_the_model_is_refused(vanilla: str) -> None:
    with pytest.raises(ValueError, match="max_length=100: the model has positions for 72"):
        ElasticRanker(vanilla, max_length=100, max_query_length=10)(frame(1, 2))


def test_weights_come_back_from_disk(checkpoint: str, tmp_path: Path) -> None:
    ranker = ElasticRanker.from_pretrained(checkpoint, budget="25%")
    again = ElasticRanker.from_pretrained(ranker.save_pretrained(tmp_path / "copy"), budget="25%")
    rows = frame(1)
    pd.testing.assert_frame_equal(ranker(rows), again(rows))
    assert SubNet(2, 0.5) in ranker._loaded.checkpoint.subnets
