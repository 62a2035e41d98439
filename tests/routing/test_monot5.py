"""An encoder-decoder as Super and as Swift, through the real class: a tiny T5 with random weights."""

import string

import numpy as np
import pandas as pd
import pytest

from elasticranker.routing import EnergyRouter
from tests.judges import COLUMNS, Judge, frame, margins, routes

pyterrier_t5 = pytest.importorskip("pyterrier_t5", reason='needs pyterrier-t5: pip install -e ".[t5]"')


@pytest.fixture(scope="module")
def monot5(tmp_path_factory):
    import torch
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    pieces = ["▁true", "▁false", "▁Query", "▁Document", "▁Relevant", ":", "▁", *string.ascii_lowercase, *string.digits]
    special = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    tokenizer = T5Tokenizer(vocab=special + [(piece, -1.0 - i) for i, piece in enumerate(pieces)], extra_ids=0)
    folder = tmp_path_factory.mktemp("monot5")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    config.n_positions = 512  # MonoT5ReRanker reads it; published T5 checkpoints have it in their config.json
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return pyterrier_t5.MonoT5ReRanker(tok_model=str(folder), model=str(folder), verbose=False, device="cpu")


def by_qid(ranked, qid):
    return ranked[ranked["qid"] == qid].sort_values("rank")


def test_monot5_as_super_ranks_what_is_routed_to_it(monot5):
    candidates = frame("a", "b", "c", sizes=5)
    router = EnergyRouter(margins(a=5, b=1, c=3), monot5, energy="margin", super_share=0.34)
    ranked, alone = router.transform(candidates), monot5.transform(frame("b", sizes=5))
    assert by_qid(ranked, "b")["docno"].tolist() == by_qid(alone, "b")["docno"].tolist()
    assert by_qid(ranked, "b")["score"].tolist() == pytest.approx(by_qid(alone, "b")["score"].tolist(), abs=1e-5)
    assert by_qid(ranked, "a")["docno"].tolist() == ["d0", "d1", "d2", "d3", "d4"]


def test_monot5_as_swift_is_routed_by_its_two_class_energy(monot5):
    candidates = frame("a", "b", "c", "d", sizes=5)
    router = EnergyRouter(monot5, Judge(), energy="two-class", trace=True).calibrate(candidates, super_share=0.5)
    traced = router.transform(candidates)
    p = np.exp(monot5.transform(candidates).groupby("qid")["score"].apply(np.array).loc["a"])
    assert by_qid(traced, "a")["energy"].iloc[0] == pytest.approx(-np.log(np.exp(p) + np.exp(1 - p)).mean(), abs=1e-5)
    assert list(routes(router, candidates).values()).count("super") == 2


def test_monot5_keeps_a_mean_budget_in_pairs(monot5):
    candidates = frame("a", "b", "c", "d", sizes=5)
    router = EnergyRouter(
        margins(a=4, b=1, c=3, d=2), monot5, budget="25%", swift_cost=0, super_cost=1, energy="margin"
    )
    assert routes(router, candidates) == {"a": "swift", "b": "super", "c": "swift", "d": "swift"}


def test_monot5_takes_empty_frames_and_says_what_it_needs(monot5):
    router = EnergyRouter(monot5, monot5, super_share=0.5)
    assert list(router.transform(pd.DataFrame(columns=COLUMNS)).columns) == COLUMNS
    assert router.transform_inputs() == ["qid", "docno", "query", "text"]
