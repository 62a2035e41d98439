"""ModernBERT beyond its window: blocks are what a mask would be, lengths of thousands fit, heads of every form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from elasticranker import ElasticRanker
from elasticranker.model.checkpoint import load
from elasticranker.model.encoder import Group, attend, blank_after, padding_mask
from elasticranker.model.families.modernbert import look, window_mask
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.planning.cost import blocks
from tests.backbones import WORDS, save_backbone


@given(st.integers(1, 70), st.integers(1, 12), st.integers(0, 100))
def test_attention_in_blocks_is_attention_under_a_mask(tokens: int, window: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, 2, tokens, 3, 4, generator=random)
    lengths = torch.randint(1, tokens + 1, (2,), generator=random)
    padding = padding_mask(blank_after(lengths, tokens), torch.float32)
    found = look(query, key, value, Group(2, tokens, padding), window)
    parts = (x.transpose(1, 2) for x in (query, key, value))
    expected = attend(*parts, window_mask(padding, window)).transpose(1, 2)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(found[row, :length], expected[row, :length], atol=1e-5, rtol=1e-5)


@given(st.integers(1, 10_000), st.integers(1, 200))
def test_blocks_are_taken_where_they_multiply_less(tokens: int, window: int) -> None:
    count = -(-tokens // window)
    assert blocks(tokens, window) == (count if count * window * 3 * window < tokens**2 else 0)


def frame_of(*lengths: int) -> pd.DataFrame:
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(WORDS, length)) for length in lengths]
    return pd.DataFrame({"qid": "1", "query": "who", "docno": [f"d{length}" for length in lengths], "text": texts})


def vanilla(folder: str, frame: pd.DataFrame) -> list[float]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    reads, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        return [model(**reads("who", text, return_tensors="pt")).logits.item() for text in frame["text"]]


def change(folder: str, **changes: Any) -> None:
    path = Path(folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("bias", [False, True])
def test_its_head_reads_what_its_configuration_says(tmp_path: Path, pooling: str, bias: bool) -> None:
    folder = save_backbone(tmp_path / "model", "modernbert", classifier_pooling=pooling, classifier_bias=bias)
    frame = frame_of(3, 10, 50)
    ranker = ElasticRanker(folder, dtype="float32")
    scores = ranker(frame).set_index("docno").loc[frame["docno"], "score"]
    np.testing.assert_allclose(scores, vanilla(folder, frame), atol=1e-4)
    again = ElasticRanker(str(ranker.save_pretrained(tmp_path / "elastic")), dtype="float32")
    pd.testing.assert_frame_equal(again(frame), ranker(frame))


class Largest(TorchDispatchMode):
    """Notes the most numbers that any tensor made meanwhile has."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_thousands_of_tokens_take_memory_that_grows_with_their_number_alone(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path, "modernbert", positions=8192)
    change(folder, local_attention=128)
    frame = frame_of(2500, 4096 - 4)
    ranker = ElasticRanker(folder, dtype="float32", max_length=8192, batch_size=4096)
    with Largest() as largest:
        scores = ranker(frame).set_index("docno").loc[frame["docno"], "score"]
    assert largest.numbers <= 4096 * 3 * 4 * 32  # keys of three blocks for each block, of the two texts one at a time
    np.testing.assert_allclose(scores, vanilla(folder, frame), atol=1e-4)


def test_lower_exits_read_normed_states(tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = save_backbone(tmp_path, "modernbert")
    encoder, _ = from_hugging_face(folder, keep_head=False)
    hidden = torch.randn(2, 5, 32)
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder).final_norm(hidden)
        torch.testing.assert_close(encoder.states(hidden), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_bias": True}, "norm_bias=True"),
        ({"mlp_bias": True}, "mlp_bias=True"),
        ({"attention_bias": True}, "attention_bias=True"),
        ({"local_attention": 1}, "local_attention=1"),
        ({"hidden_activation": "silu"}, "hidden_activation 'silu'"),
        ({"classifier_activation": "silu"}, "classifier_activation 'silu'"),
    ],
)
def test_what_is_not_done_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = save_backbone(tmp_path, "modernbert")
    change(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load(folder)


@pytest.mark.parametrize("family", ["modernbert", "mpnet"])
def test_split_layout_is_refused(tmp_path: Path, family: str) -> None:
    with pytest.raises(ValueError, match=r"--layout split.* use joint layout"):
        from_hugging_face(save_backbone(tmp_path, family), keep_head=False, split=True)
