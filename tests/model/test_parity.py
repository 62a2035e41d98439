"""The full budget is the vanilla model: Hugging Face's logits, sentence-transformers' order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from elasticranker import ElasticRanker
from tests.backbones import FAMILIES, WORDS, save_backbone

QUERY = "who is at the river bank"
TEXTS = [
    "the river bank",
    "a quick brown fox jumps over the lazy dog",
    "",
    "money flows to the bank " * 6,
    "how do i copy a whole folder",
    "blue moon red star sun",
]
FRAME = pd.DataFrame({"qid": "1", "query": QUERY, "docno": [f"d{i}" for i in range(len(TEXTS))], "text": TEXTS})


def vanilla_logits(folder: str, texts: list[str] = TEXTS) -> np.ndarray:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)([QUERY] * len(texts), texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return AutoModelForSequenceClassification.from_pretrained(folder)(**tokens).logits.numpy()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [1, 2])
def test_full_budget_gives_the_vanilla_logits(tmp_path: Path, family: str, labels: int) -> None:
    folder = save_backbone(tmp_path, family, labels)
    result = ElasticRanker(folder, dtype="float32")(FRAME).set_index("docno").loc[FRAME["docno"], "score"]
    logits = vanilla_logits(folder)
    expected = logits[:, 0] if labels == 1 else logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_budget_ranks_as_sentence_transformers_does(tmp_path: Path, family: str) -> None:
    CrossEncoder = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers").CrossEncoder
    folder = save_backbone(tmp_path, family)
    expected = [f"d{row['corpus_id']}" for row in CrossEncoder(folder, device="cpu").rank(QUERY, TEXTS)]
    assert ElasticRanker(folder, dtype="float32")(FRAME)["docno"].tolist() == expected


def random_texts(count: int) -> list[str]:
    """Texts of 0, 1, 2 ... words."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, words)) for words in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_length_gives_the_vanilla_logit_alone_and_padded(tmp_path: Path, family: str) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = save_backbone(tmp_path, family)
    reads = AutoTokenizer.from_pretrained(folder)
    longest = 70  # of 72 positions, where the RoBERTa family's start at 2
    texts = random_texts(longest - reads.num_special_tokens_to_add(pair=True))  # and a word of a query
    frame = pd.DataFrame({"qid": "1", "query": "who", "docno": [f"d{i}" for i in range(len(texts))], "text": texts})
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        padded = model(**reads(["who"] * len(texts), texts, padding=True, return_tensors="pt")).logits[:, 0].numpy()
        alone = [model(**reads(["who"], [text], return_tensors="pt")).logits.item() for text in texts]
    assert np.std(alone) > 0.01
    ranker = ElasticRanker(folder, dtype="float32", max_length=longest, max_query_length=8)
    together = ranker(frame).set_index("docno").loc[frame["docno"], "score"]
    np.testing.assert_allclose(together, padded, atol=1e-4)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    for row in (0, 1, 20, len(texts) - 1):
        np.testing.assert_allclose(ranker(frame[row : row + 1])["score"], alone[row], atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_as_close_as_the_vanilla_model_in_it(tmp_path: Path, family: str) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = save_backbone(tmp_path, family)
    tokens = AutoTokenizer.from_pretrained(folder)([QUERY] * len(TEXTS), TEXTS, padding=True, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16)
    with torch.no_grad():
        theirs = model(**tokens).logits[:, 0].float().numpy()
    result = ElasticRanker(folder, dtype="bfloat16")(FRAME).set_index("docno").loc[FRAME["docno"], "score"]
    exact = vanilla_logits(folder)[:, 0]
    assert np.abs(result - exact).max() < 2 * np.abs(theirs - exact).max() + 0.01


@pytest.mark.parametrize(("family", "longest"), [("bert", 69), ("roberta", 67)])
def test_positions_may_end_inside_a_bucket(tmp_path: Path, family: str, longest: int) -> None:
    folder = save_backbone(tmp_path, family, positions=69)
    texts = ["river " * (longest - 10 + (family == "bert"))]  # query and special tokens take the other positions
    ranker = ElasticRanker(folder, dtype="float32", max_length=longest, max_query_length=32)
    result = ranker(FRAME[:1].assign(text=texts))
    assert ranker.truncated == 0
    np.testing.assert_allclose(result["score"], vanilla_logits(folder, texts)[:, 0], atol=1e-4)


def test_an_encoder_without_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a ranking head"):
        ElasticRanker(save_backbone(tmp_path, labels=None))(FRAME)


def test_an_unsupported_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5", "architectures": ["T5ForSequenceClassification"]}')
    with pytest.raises(ValueError, match="'t5' is not supported: use a checkpoint of type bert"):
        ElasticRanker(str(tmp_path))(FRAME)


def test_an_architecture_that_is_refused_on_purpose_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    with pytest.raises(ValueError, match=r"'deberta-v2' is not supported: its attention adds .*: use a checkpoint of"):
        ElasticRanker(str(tmp_path))(FRAME)
