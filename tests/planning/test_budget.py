"""What people type as a budget, and what they read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker import Budget


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("25%", "share", 0.25),
        ("25 %", "share", 0.25),
        ("full", "share", 1.0),
        ("100%", "share", 1.0),
        ("0.5%", "share", 0.005),
        ("20 GFLOPs", "flops", 20e9),
        ("20gflops", "flops", 20e9),
        ("1.5 TFLOPs", "flops", 1.5e12),
        ("50 ms", "time", 0.05),
        ("2s", "time", 2.0),
    ],
)
def test_what_people_type_is_understood(text: str, kind: str, value: float) -> None:
    assert (Budget(text).kind, Budget(text).value) == (kind, pytest.approx(value))


@pytest.mark.parametrize(
    "text", ["fast", "-3%", "0", "0%", "300%", "10 parsecs", "", "%", "25", "nan%", "1e999%", 25, None]
)
def test_nonsense_is_refused_with_the_remedy(text: object) -> None:
    with pytest.raises(ValueError, match=r"25%|100%") as error:
        Budget(text)  # type: ignore[arg-type]
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("given", "suggestion"), [("25", "'25%'"), (25, "'25%'"), ("0.25", "'25%'"), (0.1, "'10%'"), (" 100 ", "'100%'")]
)
def test_a_number_without_a_unit_is_told_what_it_may_mean(given: object, suggestion: str) -> None:
    with pytest.raises(ValueError, match=rf"has no unit \(did you mean {suggestion}\?\): write"):
        Budget(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["250", 4096])
def test_a_number_that_is_no_share_is_told_to_have_a_unit(given: object) -> None:
    with pytest.raises(ValueError, match="has no unit: write a share"):
        Budget(given)  # type: ignore[arg-type]


@given(st.floats(1e-6, 100), st.sampled_from(["%", " GFLOPs", " ms", " s", " TFLOPs"]))
def test_a_budget_prints_as_it_is_typed(number: float, unit: str) -> None:
    budget = Budget(f"{number:.6f}{unit}") if number > 1e-5 else Budget(f"1{unit}")
    again = Budget(str(budget))
    assert (again.kind, again.value) == (budget.kind, pytest.approx(budget.value, rel=1e-9))
    assert str(again) == str(budget)


def test_full_is_the_whole_share() -> None:
    assert Budget("full") == Budget("100%")
    assert str(Budget("100%")) == "full"
    assert hash(Budget("25%")) == hash(Budget("25 %"))


def test_budgets_of_one_kind_compare() -> None:
    assert Budget("5%") < Budget("full")
    with pytest.raises(TypeError):
        assert Budget("5%") < Budget("5 ms")
