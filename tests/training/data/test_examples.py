"""What a step of fine-tuning has: every example once a round, in an order that a number alone fixes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticranker.model.inputs import InputEncoder
from elasticranker.training.data.examples import Examples, ExampleSampler
from tests.backbones import tokenizer
from tests.training.examples import made_examples


def sampler(examples=None, **options):
    encoder = InputEncoder(tokenizer("bert"), max_length=16)
    return ExampleSampler(encoder, examples or made_examples(10), **{"examples_per_step": 4} | options)


def rows_of(step):
    """The texts of a step in order of place, as tuples of ids without padding."""
    placed = {}
    for micro in step.full:
        for place, ids, blank in zip(micro.positions.tolist(), micro.batch.ids, micro.batch.blank, strict=True):
            placed[place] = tuple(ids[~blank].tolist())
    return [placed[place] for place in sorted(placed)]


@given(st.integers(1, 12), st.integers(1, 7), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_every_example_comes_once_a_round(size, per_step, seed):
    made = sampler(made_examples(size), examples_per_step=per_step, seed=seed)
    drawn = [row for number in range(size) for row in made._rows(number)]  # `per_step` rounds, exactly
    for turn in range(per_step):
        assert sorted(drawn[turn * size : (turn + 1) * size]) == list(range(size))
    if size > 4 and per_step > 1:
        assert any(drawn[:size] != drawn[turn * size : (turn + 1) * size] for turn in range(1, per_step))


def test_places_labels_and_texts_belong_together():
    examples = made_examples(10)
    made = sampler(examples, batch_examples=2)
    step = made.step(2)
    texts = rows_of(step)
    for place, row in enumerate(made._rows(2)):
        assert texts[place] == tuple(made.tokens[row].ids.tolist())
        assert step.labels[place] == examples.labels[row]
    assert step.pairs == 4 and step.narrow_examples == 2
    assert sorted(place for micro in step.narrow for place in micro.positions.tolist()) == [0, 1]


def test_processes_share_a_step():
    whole = sampler().step(3, whole=True)
    parts = [sampler(rank=rank, processes=2).step(3) for rank in (0, 1)]
    assert [rows_of(whole)[rank::2] for rank in (0, 1)] == [rows_of(part) for part in parts]
    assert sum(part.narrow_examples for part in parts) == whole.narrow_examples
    with pytest.raises(ValueError, match="must be a multiple of 3 processes"):
        sampler(processes=3)


def test_pairs_are_joined_as_the_tokenizer_joins_them():
    made = tokenizer("bert")
    pair = ("the river bank", "a cat is red and blue")
    (tokens,) = InputEncoder(made, max_length=9).tokens([pair])
    expected = made(*pair, truncation=True, max_length=9)
    assert tokens.ids.tolist() == expected["input_ids"] and len(tokens.ids) == 9
    assert tokens.types.tolist() == expected["token_type_ids"]
    roberta = InputEncoder(tokenizer("roberta"), max_length=64).tokens([pair])[0]
    assert roberta.ids.tolist() == tokenizer("roberta")(*pair)["input_ids"]
    assert not roberta.types.any()


def test_padding_is_blank_and_no_part_of_the_text():
    encoder = InputEncoder(tokenizer("bert"), max_length=16)
    batch = encoder.batch(encoder.tokens(["one", "one two three"]), 8)
    assert torch.equal(batch.segments.document, ~batch.blank)
    assert (~batch.blank).sum(1).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("texts", "labels", "classes", "message"),
    [
        ([], [], 2, "0 texts and 0 labels"),
        (["one"], [0, 1], 2, "1 texts and 2 labels"),
        (["one"], [2], 2, "label 2 is no class"),
        (["one"], [0.5], 2, "label 0.5 is no class"),
        (["one"], [np.nan], 1, "NaN or infinity"),
        (["one"], [0], 0, "classes=0"),
    ],
)
def test_examples_that_do_not_go_together_are_refused(texts, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        Examples(texts, np.array(labels, dtype=np.float32), classes)


def test_mixed_inputs_are_refused_by_name():
    with pytest.raises(ValueError, match=r"all be pairs of texts, but one is \('a', 'b'\)"):
        InputEncoder(tokenizer("bert"), max_length=16).tokens(["a", ("a", "b")])
