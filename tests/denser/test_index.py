"""Real indexes of pyterrier_dr, built and searched with real vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pyterrier_dr
import pytest

from elasticranker import ElasticDenser
from elasticranker.denser.remembering import NOTE, origin_of
from elasticranker.model.checkpoint import copy_checkpoint, set_ladder
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.ladder import untuned
from elasticranker.planning.subnet import SubNet
from tests.denser.tiny import TEXTS, candidates, checkpoint, documents, other_checkpoint, queries

DENSER = ElasticDenser(checkpoint(), dtype="float32")


def built(folder: Path, denser: ElasticDenser = DENSER) -> pyterrier_dr.FlexIndex:
    index = pyterrier_dr.FlexIndex(str(folder / "docs.flex"), verbose=False)
    (denser.doc_encoder() >> index).index(documents().to_dict(orient="records"))
    return index


def products(denser: ElasticDenser) -> pd.DataFrame:
    """What a search has to find, from the vectors themselves."""
    asked = denser.encode_queries(queries()["query"].tolist())
    read = DENSER.encode_docs(list(TEXTS.values()))
    rows = [(q, d, float(asked[i] @ read[j])) for i, q in enumerate(queries()["qid"]) for j, d in enumerate(TEXTS)]
    frame = pd.DataFrame(rows, columns=["qid", "docno", "score"])
    return frame.sort_values(["qid", "score"], ascending=[True, False], ignore_index=True)


@pytest.mark.parametrize("budget", ["full", "50%", "5%"])
@pytest.mark.parametrize("kind", ["np_retriever", "torch_retriever"])
def test_one_index_serves_all_budgets(tmp_path: Path, budget: str, kind: str) -> None:
    index, denser = built(tmp_path), DENSER.with_budget(budget)
    found = (denser >> getattr(index, kind)(num_results=5))(queries())
    expected = products(denser)
    assert found["docno"].tolist() == expected["docno"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)


def test_candidates_are_scored_by_stored_vectors(tmp_path: Path) -> None:
    scored = (DENSER >> built(tmp_path).scorer())(candidates().drop(columns="text"))
    ranked = scored.sort_values(["qid", "score"], ascending=[True, False])
    assert ranked["docno"].tolist() == products(DENSER)["docno"].tolist()


def test_an_index_remembers_checkpoint_and_document_depth(tmp_path: Path) -> None:
    shallow = ElasticDenser(checkpoint(), doc_budget="50%")
    origin = origin_of(built(tmp_path, shallow))
    assert origin is not None
    assert (origin.fingerprint, origin.document_depth, origin.dim) == (DENSER.origin.fingerprint, 1, 32)
    DENSER.check_index(pyterrier_dr.FlexIndex(str(tmp_path / "docs.flex")))  # depths combine freely


def test_an_indexer_that_overwrites_remembers_too(tmp_path: Path) -> None:
    index = built(tmp_path)
    other = ElasticDenser(other_checkpoint())
    (other >> index.indexer(mode="overwrite")).index(documents().to_dict(orient="records"))
    origin = origin_of(index)
    assert origin is not None and origin.fingerprint == other.origin.fingerprint


@pytest.mark.parametrize("piece", ["np_retriever", "scorer", "vec_loader"])
def test_another_checkpoints_index_is_refused(tmp_path: Path, piece: str) -> None:
    index = built(tmp_path)
    for other in (ElasticDenser(other_checkpoint()), ElasticDenser(other_checkpoint()).query_encoder()):
        with pytest.raises(ValueError, match=r"docs\.flex was made by another checkpoint"):
            other >> getattr(index, piece)()
        with pytest.raises(ValueError, match=r"docs\.flex was made by another checkpoint"):
            other >> index


def test_vectors_of_another_size_are_refused(tmp_path: Path) -> None:
    small = ElasticDenser(checkpoint(DenseReading(dims=(8,))), dim=8)
    index = built(tmp_path, small)
    (tmp_path / "docs.flex" / NOTE).unlink()  # as another encoder's index
    with pytest.raises(ValueError, match="have 8 dimensions, this denser's have 32"):
        DENSER >> index.np_retriever()


def test_a_checkpoint_that_was_tuned_since_searches_its_index_all_the_same(tmp_path: Path) -> None:
    index = built(tmp_path)
    copy_checkpoint(checkpoint(), tmp_path)
    set_ladder(tmp_path, untuned([SubNet(0), SubNet(3)]), {}, first_stage="dense")
    tuned = ElasticDenser(str(tmp_path))
    assert tuned.fingerprint != DENSER.fingerprint
    tuned.check_index(index)


def test_nothing_is_noted_before_all_vectors_are_there(tmp_path: Path) -> None:
    def dies() -> object:
        yield {"docno": "d1", "text": "a cat"}
        raise RuntimeError("killed")

    index = pyterrier_dr.FlexIndex(str(tmp_path / "docs.flex"), verbose=False)
    with pytest.raises(RuntimeError, match="killed"):
        (DENSER.doc_encoder() >> index).index(dies())
    assert origin_of(index) is None


def test_first_stages_together_and_elastic_reranking_behind(tmp_path: Path) -> None:
    from elasticranker import ElasticRanker

    index = built(tmp_path)
    first = DENSER >> index.np_retriever(num_results=3, drop_query_vec=True)
    add_text = pt.apply.text(lambda row: TEXTS[row["docno"]])
    pipeline = first >> add_text >> ElasticRanker(checkpoint(), budget="50%")
    found = pipeline(queries())
    assert found.groupby("qid").size().tolist() == [3, 3, 3]
    both = (first % 2 | DENSER.with_budget("5%") >> index.np_retriever(num_results=2, drop_query_vec=True)) >> add_text
    assert (both >> ElasticRanker(checkpoint(), budget="50%"))(queries()).groupby("qid").size().between(2, 4).all()
    assert set(zip(found["qid"], found["docno"], strict=True)) == set(
        zip(*first(queries())[["qid", "docno"]].T.to_numpy(), strict=True)
    )
