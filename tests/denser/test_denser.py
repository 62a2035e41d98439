"""What a user of `ElasticDenser` may rely on."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from elasticranker import ElasticDenser, ElasticRanker
from elasticranker.cli import main
from elasticranker.model.pairs import round_up
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.subnet import SubNet
from tests.backbones import WORDS, save_backbone
from tests.denser.tiny import TEXTS, bi_encoder, candidates, checkpoint, documents, other_checkpoint, queries
from tests.oddframes import OddFrame, odd_frames
from tests.planning.test_cost import elastic

SENTENCES = st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=30).map(" ".join)
FULL = ElasticDenser(checkpoint(), dtype="float32", trace=True)


class TestCitizenship(pt.testing.transformer_test_class(lambda: ElasticDenser(checkpoint()))):  # type: ignore[misc]
    """PyTerrier's own checks, which load no weights."""


class TestQueryEncoder(pt.testing.transformer_test_class(lambda: FULL.query_encoder())):  # type: ignore[misc]
    """The same for what adds vectors to queries."""


class TestDocEncoder(pt.testing.transformer_test_class(lambda: FULL.doc_encoder())):  # type: ignore[misc]
    """The same for what adds vectors to documents."""


class TestTextScorer(pt.testing.transformer_test_class(lambda: FULL.text_scorer())):  # type: ignore[misc]
    """The same for what ranks by texts."""


def vectors(frame: pd.DataFrame, column: str = "query_vec") -> np.ndarray:
    return np.stack(frame[column].tolist())


def test_importing_the_package_needs_no_pyterrier_dr() -> None:
    code = "import sys; sys.modules['pyterrier_dr'] = None\nimport elasticranker\ntry: elasticranker.ElasticDenser\n"
    code += "except ImportError as error: assert 'extra dense' in str(error), error\nelse: raise SystemExit(1)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("family", ["bert", "electra", "roberta"])
def test_an_ordinary_bi_encoder_makes_the_vectors_of_hugging_face(tmp_path: Path, family: str) -> None:
    from transformers import AutoModel, AutoTokenizer

    place = save_backbone(tmp_path / "e5-tiny", family, labels=None)
    texts = list(TEXTS.values())
    model, tokenizer = AutoModel.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(place)
    batch = tokenizer([f"passage: {text}" for text in texts], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    kept = batch["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((states * kept).sum(1) / kept.sum(1), dim=-1)
    made = ElasticDenser(place, dtype="float32").encode_docs(texts)
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-4)


def test_the_real_e5_makes_the_vectors_of_hugging_face(shared: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    place = shared / "models" / "e5-small-v2"
    tokenizer = AutoTokenizer.from_pretrained(place)
    model = AutoModel.from_pretrained(place, add_pooling_layer=False, dtype=torch.float32).eval()
    asked = ["how do I copy a whole folder", "Who wrote “Café Müller”, and when?", ""]
    batch = tokenizer([f"query: {text}" for text in asked], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    kept = batch["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((states * kept).sum(1) / kept.sum(1), dim=-1)
    np.testing.assert_allclose(ElasticDenser(str(place), dtype="float32").encode_queries(asked), expected, atol=1e-4)


@pytest.mark.parametrize("reading", [DenseReading(), DenseReading(order=(2, 0, 1))])
@pytest.mark.parametrize("budget", ["full", "80%", "60%", "30%", "5%"])
def test_spend_is_what_torch_counts_and_within_the_budget(budget: str, reading: DenseReading) -> None:
    denser = ElasticDenser(checkpoint(reading), budget=budget, dtype="float32", trace=True)
    denser.warm_up()
    allowed = denser.full_cost(queries()) * denser.budget.value
    with FlopCounterMode(display=False) as counter:
        made = denser.query_encoder()(queries())
    assert made["spend"].sum() == counter.get_total_flops()
    assert (made["spend"] <= allowed).all()
    assert (made["spend"] > 0).all()


@given(SENTENCES, st.floats(0.02, 1.0), st.sampled_from(["share", "flops"]), st.booleans())
def test_a_query_never_costs_more_than_its_budget_and_no_better_sub_network_would_fit(
    query: str, share: float, kind: str, rated: bool
) -> None:
    rating = (*((SubNet(d, w), d * w**0.5) for d in (1, 2, 3) for w in (1.0, 0.5)), (SubNet(0), 0.0))
    denser = ElasticDenser(checkpoint(DenseReading(rated=rating) if rated else None), dtype="float32", trace=True)
    frame = pd.DataFrame({"qid": ["1"], "query": [query]})
    whole = int(denser.full_cost(frame).iloc[0])
    made = denser.with_budget(f"{100 * share}%" if kind == "share" else f"{share * whole} FLOPs")(frame).iloc[0]
    assert 0 < made["spend"] <= share * whole * (1 + 1e-12)
    order = [tuple(row) for row in denser.subnets[["depth", "width"]].to_numpy().tolist()]
    tokens = round_up(len(denser._loaded.queries.tokens([query]).rows[0]))
    for depth, width in order[: order.index((made["exit_depth"], made["exit_width"]))]:
        assert denser.checkpoint.cost.vector(tokens, int(depth), width) > share * whole * (1 - 1e-12)


def test_a_time_affords_deeper_sub_networks_the_longer_it_is() -> None:
    from elasticranker.model.speed import SpeedProfile

    denser = ElasticDenser(checkpoint(), dtype="float32", trace=True)
    price = [float(denser.checkpoint.cost.vector(16, depth, 1.0)) for depth in range(4)]
    denser._loaded.__dict__["speed"] = SpeedProfile(tuple(price), (0.001, 0.002, 0.003, 0.004))
    frame = pd.DataFrame({"qid": ["1"], "query": ["a cat jumps over the dog"]})
    found = [int(denser.with_budget(f"{ms} ms")(frame)["exit_depth"].iloc[0]) for ms in (1.2, 2.3, 3.4, 4.5)]
    assert found == [0, 1, 2, 3]


def test_a_budget_that_affords_nothing_is_refused_before_anything_is_encoded() -> None:
    with pytest.raises(ValueError, match=r"budget='50%' is too small .*100\.00% of the whole model"):
        ElasticDenser(bi_encoder(), budget="50%")(queries())


def test_a_vector_does_not_depend_on_the_texts_beside_it() -> None:
    for budget in ("full", "40%"):
        encoder = FULL.with_budget(budget).query_encoder()
        together = encoder(queries())
        alone = [encoder(queries().iloc[[row]]) for row in range(len(together))]
        np.testing.assert_allclose(vectors(together), np.concatenate([vectors(one) for one in alone]), atol=1e-6)
        small = FULL.with_budget(budget).query_encoder(batch_size=1)
        np.testing.assert_allclose(vectors(small(queries())), vectors(together), atol=1e-6)


def test_vectors_of_the_whole_model_are_those_that_split_pairs_are_scored_by() -> None:
    from elasticranker.model.encoder import padding_mask

    loaded = FULL.checkpoint
    pairs = loaded.pairs(max_length=72, max_query_length=16)
    pair = pairs.pair(*pairs.tokens(["the river", "money flows"]))
    batch = pairs.batch([pair], *pairs.bucket(pair))
    apart = torch.full((batch.ids.shape[1],) * 2, 0.0)
    second = torch.arange(batch.ids.shape[1]) >= batch.first
    apart[second[:, None] != second[None]] = -1e4
    with torch.no_grad():
        hidden = loaded.encoder.embeddings(batch.ids, batch.types, torch.float32, batch.first)
        mask = padding_mask(batch.blank, torch.float32) + apart
        for weights in loaded.encoder.weights(1.0, torch.float32)[:2]:
            hidden = loaded.encoder.run_layers(hidden, [weights], mask)
        expected = loaded.encoder.exits["2"].vectors(hidden, batch.segments)[0]
    frame = pd.DataFrame({"qid": ["1"], "query": ["the river"], "docno": ["d"], "text": ["money flows"]})
    half = ElasticDenser(checkpoint(), budget="90%", doc_budget="90%", dtype="float32", trace=True)
    asked = half.query_encoder()(frame)
    assert asked["exit_depth"].tolist() == [2]
    np.testing.assert_allclose(vectors(asked)[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(vectors(half.doc_encoder()(frame), "doc_vec")[0], expected[1], atol=1e-5)


def test_chosen_layers_are_those_that_are_run() -> None:
    first, chosen = (
        ElasticDenser(checkpoint(DenseReading(order)), budget="50%", dtype="float32") for order in ((), (2, 0, 1))
    )
    last = chosen.checkpoint.encoder
    with torch.no_grad():
        ids = torch.from_numpy(chosen._loaded.queries.tokens(["a cat"]).rows[0][None].astype(np.int64))
        states = last.embeddings(ids, torch.zeros_like(ids), torch.float32)
        states = last.run_layers(states, last.weights(1.0, torch.float32)[2:], torch.zeros(1, 1, 1, ids.shape[1]))
        expected = last.exits["1"].pooled(states, torch.ones(1, 1, ids.shape[1], dtype=torch.bool))[0]
    np.testing.assert_allclose(chosen.encode_queries(["a cat"]), expected, atol=1e-5)
    assert not np.allclose(first.encode_queries(["a cat"]), expected, atol=1e-3)


def test_what_has_chosen_layers_is_no_rankers() -> None:
    folder = checkpoint(DenseReading((2, 0, 1)))
    ranker = ElasticRanker(folder, budget="50%")
    with pytest.raises(ValueError, match="has query encoders of chosen layers, for ElasticDenser alone"):
        ranker(candidates())


def test_info_tells_what_has_chosen_layers_from_a_ranker(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", checkpoint(DenseReading((2, 0, 1), dims=(8,)))]) == 0
    out = capsys.readouterr().out
    assert "elastic bi-encoder, for ElasticDenser" in out and "2, 0, 1 (from 0)" in out and "32, 8" in out
    assert "ladder" not in out


def test_empty_frames_get_their_columns_and_load_nothing() -> None:
    denser = ElasticDenser(checkpoint(), trace=True)
    traced = ["query_vec", "exit_depth", "exit_width", "spend"]
    assert list(denser(queries().iloc[:0]).columns) == ["qid", "query", *traced]
    assert list(denser(documents().iloc[:0]).columns) == ["docno", "text", "doc_vec"]
    ranked = denser(candidates().iloc[:0])
    assert list(ranked.columns) == ["qid", "query", "docno", "text", *traced, "doc_vec", "score", "rank"]
    assert "checkpoint" not in vars(denser._loaded)


@given(odd_frames())
def test_rows_are_carried_by_position(odd: OddFrame) -> None:
    made = FULL.query_encoder()(odd.frame)
    texts = [row["query"] for row in odd.rows]
    assert made["row"].tolist() == odd.frame["row"].tolist()
    assert made.index.equals(odd.frame.index)
    if texts:
        np.testing.assert_allclose(vectors(made), FULL.encode_queries(texts), atol=1e-6)
    scored = FULL.text_scorer()(odd.frame)
    assert sorted(scored["row"].tolist()) == list(range(len(texts)))


def test_candidates_are_ranked_by_the_product_of_their_vectors() -> None:
    ranked = FULL(candidates())
    asked = dict(zip(queries()["qid"], FULL.encode_queries(queries()["query"].tolist()), strict=True))
    read = dict(zip(TEXTS, FULL.encode_docs(list(TEXTS.values())), strict=True))
    for qid, rows in ranked.groupby("qid"):
        products = [float(asked[qid] @ read[docno]) for docno in rows["docno"]]
        np.testing.assert_allclose(rows["score"], products, atol=1e-5)
        assert (np.diff(rows["score"].astype(np.float32)) < 0).all()
        assert rows["rank"].tolist() == list(range(5))


def test_vectors_that_a_frame_has_are_not_made_again() -> None:
    frame = FULL.doc_encoder()(candidates())
    frame["doc_vec"] = [np.roll(vector, 1) for vector in frame["doc_vec"]]
    ranked = FULL.text_scorer()(frame)
    first = ranked.iloc[0]
    assert first["score"] == pytest.approx(float(first["query_vec"] @ first["doc_vec"]), abs=1e-5)


def test_equal_densers_are_one_stage_of_an_experiment_and_others_are_not() -> None:
    denser = ElasticDenser(checkpoint())
    half = denser.with_budget("50%")
    assert denser == ElasticDenser(checkpoint()) and hash(denser) == hash(ElasticDenser(checkpoint()))
    assert denser.query_encoder() == ElasticDenser(checkpoint()).query_encoder()
    others = [denser, half, ElasticDenser(other_checkpoint()), ElasticDenser(checkpoint(), doc_budget="50%")]
    made = [kind for one in others for kind in (one, one.query_encoder(), one.doc_encoder(), one.text_scorer())]
    assert len(set(made)) == len(made)


def test_siblings_share_weights_and_pickling_drops_them() -> None:
    half = FULL.with_budget("50%")
    assert half._loaded is FULL._loaded
    back = pickle.loads(pickle.dumps(half))
    assert back == half and "checkpoint" not in vars(back._loaded)


def test_grid_search_sets_a_budget_and_keeps_the_weights() -> None:
    denser = ElasticDenser(checkpoint())
    loaded = denser._loaded
    denser.set_parameter("budget", "25%")
    assert str(denser.budget) == "25%" and denser._loaded is loaded


def test_documents_all_get_the_best_sub_network_that_no_length_makes_too_dear() -> None:
    denser = ElasticDenser(checkpoint(), doc_budget="50%")
    chosen, cost = denser.document_subnet, denser.checkpoint.cost
    sizes = range(8, 65, 8)
    assert all(cost.vector(n, chosen.depth, 1.0) <= 0.5 * cost.vector(n, 3, 1.0) for n in sizes)
    assert any(cost.vector(n, chosen.depth + 1, 1.0) > 0.5 * cost.vector(n, 3, 1.0) for n in sizes)
    assert ElasticDenser(checkpoint()).document_subnet == SubNet(3)


def test_smaller_vectors_are_the_first_dimensions_where_they_were_trained() -> None:
    trained = checkpoint(DenseReading(dims=(8, 16)))
    small, whole = ElasticDenser(trained, dim=8, dtype="float32"), ElasticDenser(trained, dtype="float32")
    cut = whole.encode_queries(["a cat"])[:, :8]
    np.testing.assert_allclose(small.encode_queries(["a cat"]), cut / np.linalg.norm(cut), atol=1e-6)
    with pytest.raises(ValueError, match=r"dim=12: .*32 dimensions, and were trained to be cut to 8, 16"):
        ElasticDenser(trained, dim=12)
    with pytest.raises(ValueError, match=r"dim=8: .*none below that"):
        ElasticDenser(bi_encoder(), dim=8)


def test_exits_that_nobody_aligned_are_not_offered(tmp_path: Path) -> None:
    from elasticranker.model.checkpoint import load

    made = load(checkpoint())
    made.provenance = {"training": {"align_exits": 0.0}}
    assert len(ElasticDenser(str(made.save(tmp_path))).subnets) == 1


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ("full", "of 16 tokens: 3 layers"),
        ("60%", "of 16 tokens: 1 layer<"),
        ("3 FLOPs", "too small for a query"),
        ("5 ms", "by how fast this machine is"),
    ],
)
def test_a_notebook_shows_what_encodes_queries_and_documents(budget: str, told: str) -> None:
    shown = ElasticDenser(checkpoint(), budget=budget)._repr_html_()
    assert shown is not None and "pts-" in shown  # PyTerrier's schematic
    assert told in shown and "3 layers, 32 dimensions" in shown


def test_what_isnt_there_is_not_fetched_to_be_shown() -> None:
    assert "known once the model is fetched" in str(ElasticDenser("owner/name", budget="25%")._repr_html_())


def test_long_texts_are_cut_and_counted() -> None:
    denser = ElasticDenser(checkpoint(), max_query_length=4, dtype="float32")
    with pytest.warns(UserWarning, match="max_query_length=4"):
        made = denser.encode_queries(["a cat jumps over", "a cat jumps over the dog"])
    assert denser.truncated == 1
    np.testing.assert_allclose(made[0], made[1], atol=1e-6)


def test_checkpoints_that_make_no_vectors_are_refused_at_once(tmp_path: Path) -> None:
    joint = elastic(tmp_path / "source").save(tmp_path / "joint")
    with pytest.raises(ValueError, match=r"is in joint layout.*--layout split.*--vectors.*e5-small-v2"):
        ElasticDenser(str(joint))
    with pytest.raises(ValueError, match="is a cross-encoder"):
        ElasticDenser(save_backbone(tmp_path / "cross"))


@pytest.mark.parametrize("model", ["default-dense", "default"])
def test_both_shipped_checkpoints_make_vectors(model: str) -> None:
    assert np.linalg.norm(ElasticDenser(model).encode_queries(["a cat"])) == pytest.approx(1, abs=1e-5)


def test_the_denser_has_a_checkpoint_of_its_own() -> None:
    denser = ElasticDenser()
    assert denser == ElasticDenser("default-dense") and denser.fingerprint != ElasticDenser("default").fingerprint


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("budget", "0.25", "budget='0.25' has no unit"),
        ("doc_budget", "20 MFLOPs", "doc_budget='20 MFLOPs': give a share"),
        ("dim", 0, "dim=0: a whole number above 0"),
        ("dtype", "int8", "dtype='int8'"),
        ("batch_size", 0, "batch_size=0"),
        ("max_query_length", True, "max_query_length=True"),
    ],
)
def test_arguments_that_make_no_sense_are_named(argument: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElasticDenser(checkpoint(), **{argument: value})


def test_odd_queries_are_refused_by_row() -> None:
    with pytest.raises(ValueError, match="column 'query' has no text in 1 of 2 rows, the first is row 1"):
        FULL(pd.DataFrame({"qid": ["1", "2"], "query": ["a", None]}))
