"""Readouts compute what their docstrings say."""

from __future__ import annotations

import pytest
import torch

from elasticranker.model.readout import ClsReadout, InteractionReadout, make_readout, segments

HIDDEN = 6


def random_pair() -> tuple[torch.Tensor, list[int], list[int]]:
    """States of `[CLS] q q [SEP] d d d [SEP] [PAD]`, and where query and document stand."""
    torch.manual_seed(0)
    return torch.randn(1, 9, HIDDEN), [1, 2], [4, 5, 6]


def where(query_end: int = 3, doc_start: int = 4, doc_end: int = 7):
    return segments(1, torch.tensor([query_end]), torch.tensor([doc_start]), torch.tensor([doc_end]), 8, 9)


def test_the_interaction_score_is_that_of_the_formula() -> None:
    states, query, document = random_pair()
    readout = InteractionReadout(HIDDEN)
    for parameter in readout.parameters():
        torch.nn.init.normal_(parameter)
    hidden = states[0]
    weights = [torch.nn.functional.softplus(hidden[i] @ readout.term + readout.term_bias[0]) for i in query]
    best = [max(torch.cosine_similarity(hidden[i], hidden[j], dim=0) for j in document) for i in query]
    matched = sum(w * b for w, b in zip(weights, best, strict=True)) / sum(weights)
    expected = readout.SCALE * readout.scale[0] * matched + hidden[0] @ readout.cls + readout.bias[0]
    torch.testing.assert_close(readout(states, where())[0], expected)


def test_an_untrained_interaction_is_plain_maxsim() -> None:
    states, query, document = random_pair()
    hidden = torch.nn.functional.normalize(states[0], dim=-1)
    expected = 20 * (hidden[query] @ hidden[document].T).amax(1).mean()
    torch.testing.assert_close(InteractionReadout(HIDDEN)(states, where())[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("empty", [{"doc_end": 4}, {"query_end": 1}])
def test_an_empty_query_or_document_is_least_similar(empty: dict[str, int]) -> None:
    states, _, _ = random_pair()
    assert InteractionReadout(HIDDEN)(states, where(**empty))[0].item() == pytest.approx(-20)


def test_two_logits_score_the_log_odds() -> None:
    states, _, _ = random_pair()
    readout = ClsReadout(HIDDEN, labels=2)
    torch.nn.init.normal_(readout.head)
    logits = readout.logits(states)
    torch.testing.assert_close(readout(states, where()), logits[:, 1] - logits[:, 0])


def test_unknown_readouts_and_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown readout 'magic'"):
        make_readout(HIDDEN, readout="magic")
    with pytest.raises(ValueError, match="labels=3"):
        ClsReadout(HIDDEN, labels=3)
