"""Losses against PyTorch's own, against loops, and by what must hold for any scores."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.training.settings import LOSSES
from elasticranker.training.trainer.losses import (
    Targets,
    bce,
    lce,
    listwise_kl,
    margin_mse,
    ranknet,
    target_distribution,
)


def lists(seed: int, groups: int = 3, size: int = 5) -> dict[str, torch.Tensor]:
    """Random lists, each with a positive in its first place and two to five candidates."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.zeros(groups, size, dtype=torch.long)
    labels[:, 0] = 1
    counts = torch.randint(2, size + 1, (groups, 1), generator=random)
    return {
        "scores": torch.randn(groups, size, generator=random),
        "teacher": torch.randn(groups, size, generator=random),
        "labels": labels,
        "mask": torch.arange(size) < counts,
    }


SEEDS = st.integers(0, 10_000)


@given(SEEDS)
def test_lce_is_cross_entropy_of_the_positive_where_the_teacher_agrees(seed):
    data = lists(seed)
    data["teacher"][:, 0] = 10.0  # no negative is above the positive
    loss = lce(data["scores"], data["labels"], data["teacher"], data["mask"])
    for row, mask in enumerate(data["mask"]):
        expected = F.cross_entropy(data["scores"][row][mask], torch.tensor(0))
        torch.testing.assert_close(loss[row], expected)


def test_lce_leaves_out_negatives_that_the_teacher_puts_above_the_positive():
    scores, labels = torch.tensor([[1.0, 5.0, 0.0]]), torch.tensor([[1, 0, 0]])
    teacher, mask = torch.tensor([[0.5, 0.9, 0.1]]), torch.ones(1, 3, dtype=torch.bool)
    expected = F.cross_entropy(torch.tensor([1.0, 0.0]), torch.tensor(0))
    torch.testing.assert_close(lce(scores, labels, teacher, mask)[0], expected)


def test_lce_takes_the_positive_that_the_teacher_likes_best_and_no_unjudged_rival():
    scores, labels = torch.tensor([[1.0, 2.0, 9.0, 0.0]]), torch.tensor([[1, 1, -1, 0]])
    teacher, mask = torch.tensor([[0.5, 0.9, 0.1, 0.1]]), torch.ones(1, 4, dtype=torch.bool)
    expected = F.cross_entropy(torch.tensor([2.0, 0.0]), torch.tensor(0))
    torch.testing.assert_close(lce(scores, labels, teacher, mask)[0], expected)


@given(SEEDS)
def test_margin_mse_is_the_mean_over_pairs_in_a_loop(seed):
    data = lists(seed)
    loss = margin_mse(data["scores"], data["teacher"], data["mask"])
    for row, mask in enumerate(data["mask"]):
        student, teacher = data["scores"][row][mask].tolist(), data["teacher"][row][mask].tolist()
        errors = [
            ((student[i] - student[j]) - (teacher[i] - teacher[j])) ** 2
            for i in range(len(student))
            for j in range(len(student))
        ]
        assert float(loss[row]) == pytest.approx(sum(errors) / len(errors), rel=1e-4, abs=1e-6)


@given(SEEDS)
def test_ranknet_is_the_mean_over_ordered_pairs_in_a_loop(seed):
    data = lists(seed)
    loss = ranknet(data["scores"], data["teacher"], data["mask"])
    for row, mask in enumerate(data["mask"]):
        student, teacher = data["scores"][row][mask], data["teacher"][row][mask]
        terms = [
            F.softplus(student[j] - student[i])
            for i in range(len(student))
            for j in range(len(student))
            if teacher[i] > teacher[j]
        ]
        torch.testing.assert_close(loss[row], torch.stack(terms).mean())


@given(SEEDS)
def test_bce_is_the_mean_over_judged_pairs(seed):
    data = lists(seed)
    data["labels"][:, 1] = -1
    loss = bce(data["scores"], data["labels"], data["mask"])
    for row, mask in enumerate(data["mask"]):
        judged = mask & (data["labels"][row] >= 0)
        target = data["labels"][row][judged].float()
        torch.testing.assert_close(loss[row], F.binary_cross_entropy_with_logits(data["scores"][row][judged], target))


@given(SEEDS, st.floats(-5, 5))
def test_kl_is_zero_at_the_target_whatever_is_added_and_positive_elsewhere(seed, shift):
    data = lists(seed)
    target = target_distribution(data["teacher"], data["labels"], data["mask"], temperature=0.5, bonus=0.3)
    logits = (data["teacher"] + 0.3 * (data["labels"] == 1)) / 0.5
    assert torch.all(listwise_kl(logits + shift, target, data["mask"]).abs() < 1e-5)
    assert torch.all(listwise_kl(data["scores"], target, data["mask"]) > 0)


@given(SEEDS)
def test_what_is_masked_changes_nothing(seed):
    data = lists(seed)
    other = {name: value.clone() for name, value in data.items()}
    for name in ("scores", "teacher"):
        other[name][~data["mask"]] = 7.0
    other["labels"][~data["mask"]] = 1
    weights = dict.fromkeys(LOSSES, 1.0)
    first, second = (
        Targets(part["teacher"], part["labels"], part["mask"], weights=weights, temperature=1.0, bonus=0.5).loss(
            part["scores"]
        )
        for part in (data, other)
    )
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", LOSSES)
def test_a_query_without_a_say_does_not_count_in_the_mean(name):
    data = lists(1, groups=2)
    alone = Targets(
        data["teacher"][:1], data["labels"][:1], data["mask"][:1], weights={name: 1.0}, temperature=1.0, bonus=0.0
    )
    labels, mask = data["labels"].clone(), data["mask"].clone()
    labels[1], mask[1] = -1, False
    both = Targets(data["teacher"], labels, mask, weights={name: 1.0}, temperature=1.0, bonus=0.0)
    torch.testing.assert_close(both.loss(data["scores"]), alone.loss(data["scores"][:1]))


def test_a_sub_network_that_agrees_with_the_full_model_has_nothing_to_imitate():
    data = lists(2)
    targets = Targets(data["teacher"], data["labels"], data["mask"], weights={"kl": 1.0}, temperature=1.0, bonus=0.0)
    scores = data["scores"].requires_grad_()
    assert float(targets.imitate(scores.detach() + 3, scores)) == pytest.approx(0, abs=1e-6)
    loss = targets.imitate(scores.flip(-1), scores)
    loss.backward()  # nothing flows into the full model through its own distribution
    torch.testing.assert_close(scores.grad.sum(-1), torch.zeros(3), atol=1e-6, rtol=0)
