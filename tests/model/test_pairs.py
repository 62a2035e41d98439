"""Pairs are laid out as the backbone's own tokenizer does; only what doesn't fit is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.model.pairs import PairEncoder, round_up
from tests.backbones import WORDS, tokenizer

TEXTS = st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=30).map(" ".join)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@given(query=TEXTS, document=TEXTS)
def test_a_pair_is_what_the_tokenizer_makes_of_it(family: str, query: str, document: str) -> None:
    made = tokenizer(family)
    encoder = PairEncoder(made, max_length=70, max_query_length=32)
    pair = encoder.pair(*encoder.tokens([query, document]))
    several = made([query], [document], return_token_type_ids=True)  # one text alone: transformers drops an empty one
    expected = {name: rows[0] for name, rows in several.items()}
    batch = encoder.batch([pair], *encoder.bucket(pair))
    length = encoder.length(pair)
    assert length == len(expected["input_ids"]) == int((~batch.blank[0]).sum())
    assert batch.ids[0, :length].tolist() == expected["input_ids"]
    assert set(batch.ids[0, length:].tolist()) <= {made.pad_token_id}
    if family == "bert":
        assert batch.types[0, :length].tolist() == expected["token_type_ids"]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_segments_hold_the_words_and_no_special_tokens(family: str) -> None:
    made = tokenizer(family)
    encoder = PairEncoder(made, max_length=40, max_query_length=8)
    pair = encoder.pair(*encoder.tokens(["who is", "the river bank flows"]))
    batch = encoder.batch([pair], *encoder.bucket(pair))
    where = batch.segments
    slots = batch.ids[0, : where.first_slots]
    assert made.convert_ids_to_tokens(slots[where.query[0]]) == ["who", "is"]
    assert made.convert_ids_to_tokens(batch.ids[0, where.document[0]]) == ["the", "river", "bank", "flows"]


def test_the_document_gives_way_and_the_query_only_beyond_its_own_limit() -> None:
    encoder = PairEncoder(tokenizer("bert"), max_length=16, max_query_length=5)
    short, long = encoder.tokens(["who is", "river " * 50])
    assert [len(part) for part in encoder.pair(short, long)] == [2, 11]
    assert [len(part) for part in encoder.pair(long, long)] == [5, 8]


def test_limits_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match="leaves no room for a query of max_query_length=64"):
        PairEncoder(tokenizer("bert"), max_length=40, max_query_length=64)


@given(st.integers(0, 1000), st.integers(1, 64))
def test_rounding_up_is_the_least_multiple(count: int, multiple: int) -> None:
    rounded = round_up(count, multiple)
    assert rounded % multiple == 0 and 0 <= rounded - count < multiple


def test_no_texts_are_no_tokens() -> None:
    assert PairEncoder(tokenizer("bert"), max_length=40, max_query_length=8).tokens([]) == []
