"""Token embeddings that one checkpoint lends another: stored once, checked, and there in every copy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elasticranker import ElasticDenser
from elasticranker.model.checkpoint import copy_checkpoint, load
from elasticranker.model.manifest import read_manifest
from elasticranker.model.sharing import own_tokens, share_tokens, tokens_of
from tests.model.test_split import split


@pytest.fixture
def lender(tmp_path: Path) -> Path:
    return split(tmp_path / "a").save(tmp_path / "lender")


@pytest.fixture
def borrower(tmp_path: Path, lender: Path) -> Path:
    """Other layers, the same token embeddings."""
    made = split(tmp_path / "b")
    with torch.no_grad():
        for layer in made.encoder.layers.parameters():
            layer.mul_(1.5)
        made.encoder.embeddings.token.copy_(load(lender).encoder.embeddings.token)
    return made.save(tmp_path / "borrower")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load(folder).encoder.state_dict())


def test_a_checkpoint_without_its_tokens_is_smaller_and_loads_as_before(lender: Path, borrower: Path) -> None:
    before, size = weights(borrower), (borrower / "model.safetensors").stat().st_size
    share_tokens(borrower, str(lender))
    tokens = before["embeddings.token"]
    assert (borrower / "model.safetensors").stat().st_size <= size - tokens.numel() * 4
    after = weights(borrower)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_copies_stand_alone(lender: Path, borrower: Path, tmp_path: Path) -> None:
    before = weights(borrower)
    share_tokens(borrower, str(lender))
    copy = tmp_path / "copy"
    copy.mkdir()
    copy_checkpoint(borrower, copy)
    saved = load(borrower).save(tmp_path / "saved")
    for place in lender.iterdir():
        place.unlink()
    for made in (copy, saved):
        assert "tokens" not in read_manifest(made)
        assert all(torch.equal(tensor, weights(made)[name]) for name, tensor in before.items())


def test_what_borrows_its_tokens_can_lend_them(lender: Path, borrower: Path, tmp_path: Path) -> None:
    third = load(borrower).save(tmp_path / "third")
    share_tokens(borrower, str(lender))
    share_tokens(third, str(borrower))
    assert torch.equal(tokens_of(third), tokens_of(lender))
    assert torch.equal(weights(third)["embeddings.token"], weights(lender)["embeddings.token"])


def test_giving_back_what_was_never_lent_changes_nothing(borrower: Path) -> None:
    before = (borrower / "elastic.json").read_bytes()
    own_tokens(borrower)
    assert (borrower / "elastic.json").read_bytes() == before


def test_other_tokens_are_neither_shared_nor_taken_for_the_same(lender: Path, borrower: Path, tmp_path: Path) -> None:
    other = split(tmp_path / "c")
    with torch.no_grad():
        other.encoder.embeddings.token.mul_(2)
    with pytest.raises(ValueError, match="has other token embeddings than"):
        share_tokens(borrower, str(other.save(tmp_path / "other")))
    share_tokens(borrower, str(lender))
    other.save(lender)  # as a later version's checkpoint would take its place
    with pytest.raises(ValueError, match="aren't those that this checkpoint was stored without: get the version of"):
        load(borrower)


def test_an_index_tells_what_its_vectors_were_made_with(lender: Path, borrower: Path) -> None:
    whole = ElasticDenser(str(borrower)).origin.fingerprint
    share_tokens(borrower, str(lender))
    shared = ElasticDenser(str(borrower)).origin.fingerprint
    assert len({whole, shared, ElasticDenser(str(lender)).origin.fingerprint}) == 3
