"""Joint inference over black boxes of known logits."""

import math
import operator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.routing import JointInference, Outputs, energies, output_energy


class Box:
    """A model that answers `name(input)` with known logits, and remembers what it was asked, batch by batch."""

    def __init__(self, name, logits=None, answers=None, wrap=np.array):
        self.name, self.logits, self.answers, self.wrap = name, logits or {}, answers, wrap
        self.batches = []

    def __call__(self, inputs):
        self.batches.append(inputs)
        answers = [f"{self.name}({value})" if self.answers is None else self.answers[value] for value in inputs]
        return Outputs(answers, self.wrap([self.logits.get(value, [0.0, 0.0]) for value in inputs]))


def unsure(**doubts):
    """A Swift whose max-softmax energy rises with the number of each input."""
    return Box("swift", {value: [10.0 - doubt, 0.0] for value, doubt in doubts.items()})


def bomb(inputs):
    raise AssertionError(f"super was called with {inputs}")


SWIFT = unsure(a=1, b=9, c=5, d=3)


# Who goes to Super.


def test_inputs_above_the_threshold_are_answered_by_super():
    swift, super = Box("swift", {"a": [3.0, 0.0], "b": [0.0, 0.1], "c": [0.0, 2.0]}), Box("super")
    outputs = JointInference(swift, super, energy="max-softmax", threshold=-0.6)(["a", "b", "c"])
    assert outputs.predictions == ["swift(a)", "super(b)", "swift(c)"]
    assert outputs.to_super.tolist() == [False, True, False]
    assert outputs.energies == pytest.approx([energies.max_softmax(np.array(swift.logits[x])) for x in "abc"])
    assert super.batches == [["b"]]


def test_super_is_never_called_for_what_stays_with_swift():
    for settings in ({"threshold": math.inf}, {"super_share": 0.0}, {"super_share": 0.24}):
        assert JointInference(SWIFT, bomb, **settings)(list("abcd")).predictions[0] == "swift(a)"


@given(doubts=st.lists(st.integers(0, 2000), min_size=1, max_size=25, unique=True), data=st.data())
def test_exactly_the_share_of_each_list_goes_to_super(doubts, data):
    count = data.draw(st.integers(0, len(doubts)))
    swift = Box("swift", {str(doubt): [doubt / 100, 0.0] for doubt in doubts})
    joint = JointInference(swift, Box("super"), energy="free", super_share=count / len(doubts))
    outputs = joint([str(doubt) for doubt in doubts])
    assert outputs.to_super.sum() == count
    assert {doubt for doubt, there in zip(doubts, outputs.to_super, strict=True) if there} == set(
        sorted(doubts)[:count]
    )


def test_inputs_of_equal_energy_stay_together_and_never_exceed_the_share():
    assert not JointInference(Box("swift"), bomb, super_share=0.5)(["a", "b"]).to_super.any()


def test_models_are_given_batches_in_the_order_of_the_inputs():
    swift, super = Box("swift", SWIFT.logits), Box("super")
    outputs = JointInference(swift, super, energy="max-softmax", super_share=0.75, batch_size=2)(list("abcd"))
    assert swift.batches == [["a", "b"], ["c", "d"]] and super.batches == [["b", "c"], ["d"]]
    assert outputs.predictions == ["swift(a)", "super(b)", "super(c)", "super(d)"]


def test_a_decision_by_threshold_depends_on_the_input_alone():
    joint = JointInference(SWIFT, Box("super"), energy="max-softmax").calibrate(list("abcd"), super_share=0.5)
    together = joint(list("abcd"))
    assert together.to_super.tolist() == [False, True, True, False]
    assert [joint([value]).predictions[0] for value in "abcd"] == together.predictions


def test_one_input_and_an_empty_list():
    assert JointInference(SWIFT, Box("super"), super_share=1.0)(["a"]).predictions == ["super(a)"]
    empty = JointInference(bomb, bomb, threshold=0.0)([])
    assert empty.predictions == [] and empty.energies.shape == empty.to_super.shape == (0,)


def test_inputs_may_be_of_any_kind_and_are_not_changed():
    inputs = ({"text": "a"}, {"text": "b"})

    def swift(given):
        given.clear()
        return Outputs([1, 2], [[0.0, 5.0], [0.0, 1.0]])

    assert JointInference(swift, bomb, threshold=0.0)(inputs).predictions == [1, 2]
    assert inputs == ({"text": "a"}, {"text": "b"})


def test_a_model_is_given_the_rows_of_an_array_as_they_are():
    def swift(rows):
        return Outputs([row.sum() for row in rows], rows)

    images = np.array([[0.0, 2.0], [3.0, 4.0]])
    assert JointInference(swift, bomb, threshold=9.0)(images).predictions == [2.0, 7.0]


# Outputs of every kind.


@pytest.mark.parametrize("wrap", [list, np.array, torch.tensor, lambda rows: torch.tensor(rows).bfloat16()])
def test_logits_may_be_lists_numpy_or_torch(wrap):
    swift = Box("swift", {"a": [4.0, 0.0], "b": [0.5, 0.0]}, wrap=wrap)
    outputs = JointInference(swift, bomb, threshold=9.0)(["a", "b"])
    assert outputs.energies == pytest.approx([-math.log(math.exp(4) + 1), -math.log(math.exp(0.5) + 1)])


@pytest.mark.parametrize("wrap", [list, np.array, torch.tensor])
def test_predictions_come_back_as_plain_values(wrap):
    outputs = JointInference(lambda x: Outputs(wrap([1, 0]), [[0.0, 1.0], [1.0, 0.0]]), bomb, threshold=9.0)(["a", "b"])
    assert outputs.predictions == [1, 0]
    assert {type(value) for value in outputs.predictions} == {int}


def test_super_needs_no_logits():
    assert JointInference(SWIFT, lambda x: Outputs(["yes"]), super_share=1.0)(["a"]).predictions == ["yes"]


# The energy of an output.


@pytest.mark.parametrize("name", ["free", "released", "max-softmax", "entropy", "margin"])
def test_the_energy_of_many_steps_is_the_mean_of_the_steps_energies(name):
    steps = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    expected = np.mean([energies.ENERGIES[name](step.astype(float)) for step in steps])
    assert output_energy(steps, name) == pytest.approx(expected)
    assert output_energy(steps[:1], name) == pytest.approx(output_energy(steps[0], name))


def test_outputs_may_have_different_numbers_of_steps():
    logits = {"a": [[0.0, 0.0]], "b": [[0.0, 0.0], [0.0, math.log(3)]]}
    outputs = JointInference(Box("swift", logits, wrap=list), bomb, threshold=9.0)(["a", "b"])
    assert outputs.energies == pytest.approx([-math.log(2), -(math.log(2) + math.log(4)) / 2])


def test_the_temperature_is_that_of_the_energy():
    logits = np.array([2.0, 0.0])
    for name in ("free", "released"):
        joint = JointInference(Box("swift", {"a": logits.tolist()}), bomb, energy=name, temperature=3.0, threshold=9.0)
        assert joint(["a"]).energies == pytest.approx([energies.ENERGIES[name](logits, temperature=3.0)])
    with pytest.raises(ValueError, match=r"temperature=2.0, but the energy 'entropy' has none"):
        JointInference(SWIFT, bomb, energy="entropy", temperature=2.0)


def test_a_class_may_be_impossible():
    assert output_energy([1.0, -math.inf], "free") == pytest.approx(-1.0)
    assert output_energy([1.0, -math.inf], "entropy") == 0.0


# Calibration.


def test_the_largest_share_of_the_sample_without_labels_and_super_is_not_run():
    joint = JointInference(SWIFT, bomb, energy="max-softmax")
    assert joint.calibrate(list("abcd"), super_share=0.25) is joint
    assert joint.super_share == 0.25
    assert (output_energy([5.0, 0.0], "max-softmax") < joint.threshold) and (
        joint.threshold < output_energy([1.0, 0.0], "max-softmax")
    )


@pytest.mark.parametrize(
    ("budget", "count"), [("100%", 3), ("50%", 1), ("25%", 0), ("60 FLOPs", 2), (50, 1), ("1 GFLOPs", 4)]
)
def test_as_many_as_the_mean_cost_affords(budget, count):
    joint = JointInference(SWIFT, Box("super"), energy="max-softmax")
    budget = budget if isinstance(budget, str) else f"{budget} FLOPs"
    joint.calibrate(list("abcd"), budget=budget, swift_cost=20, super_cost=lambda inputs: [80.0] * len(inputs))
    assert joint(list("abcd")).to_super.sum() == count


def test_share_and_mean_cost_both_hold():
    joint = JointInference(SWIFT, Box("super"), energy="max-softmax")
    joint.calibrate(list("abcd"), super_share=0.25, budget="75%", swift_cost=20, super_cost=80)
    assert joint(list("abcd")).to_super.sum() == 1


LABELS = ["right"] * 4


def answering(name, right, logits=None):
    """A model whose answer is right for the inputs named."""
    return Box(name, logits, {value: "right" if value in right else "wrong" for value in "abcd"})


@pytest.mark.parametrize(
    ("swift", "super", "tolerance", "count"),
    [
        ("ad", "abcd", 0.0, 2),
        ("ad", "abcd", 0.25, 1),
        ("ad", "abcd", 0.5, 0),
        ("acd", "abd", 0.0, 0),  # as good as Super without it
        ("bcd", "a", 0.0, 0),  # better than Super
        ("bc", "abcd", 0.0, 4),  # the last one is the surest
        ("a", "abd", None, 3),  # no tolerance: the best, which is here Super's quality
        ("acd", "ab", None, 1),  # better than either
    ],
)
def test_the_cheapest_threshold_within_a_tolerance_of_supers_quality(swift, super, tolerance, count):
    joint = JointInference(answering("swift", swift, SWIFT.logits), answering("super", super), energy="max-softmax")
    joint.calibrate(list("abcd"), LABELS, tolerance=tolerance)  # from least sure to surest: b, c, d, a
    assert joint(list("abcd")).to_super.sum() == count


def test_what_is_asked_for_must_be_allowed():
    joint = JointInference(answering("swift", "ad", SWIFT.logits), answering("super", "abcd"), energy="max-softmax")
    joint.calibrate(list("abcd"), LABELS, tolerance=0.25, super_share=0.25)
    assert joint(list("abcd")).to_super.sum() == 1
    with pytest.raises(ValueError, match=r"sending 1 of 4 inputs .* tolerance=0.0"):
        joint.calibrate(list("abcd"), LABELS, tolerance=0.0, super_share=0.25)


def test_quality_is_any_function_of_prediction_and_label():
    joint = JointInference(answering("swift", "abcd", SWIFT.logits), answering("super", ""), energy="max-softmax")
    joint.calibrate(list("abcd"), np.array(LABELS), quality=operator.ne)
    assert joint(list("abcd")).to_super.all()


def test_nothing_sensible_to_calibrate_on_is_refused():
    joint = JointInference(SWIFT, bomb)
    for wrong, arguments in {
        "nothing to calibrate for": {},
        "must be between 0 and 1": {"super_share": 1.5},
        "2 labels for 4 inputs": {"labels": [1, 0]},
        "needs labels": {"tolerance": 0.1},
        "tolerance=-1": {"labels": LABELS, "tolerance": -1},
        "give swift_cost": {"budget": "50%", "super_cost": 1.0},
        "super_cost must give one number": {"budget": "50%", "swift_cost": 1.0, "super_cost": lambda x: [1.0]},
        "must be a share or FLOPs": {"budget": "5 ms"},
        "swift alone may cost 9 on average": {"budget": "50%", "swift_cost": 9, "super_cost": 10},
    }.items():
        with pytest.raises(ValueError, match=wrong):
            joint.calibrate(list("abcd"), **arguments)
    with pytest.raises(ValueError, match="the sample holds no inputs"):
        joint.calibrate([], super_share=0.5)
    assert joint.threshold is None and joint.super_share is None


# Errors.


@pytest.mark.parametrize("energy", ["free", "released", "max-softmax", "entropy", "random"])
@pytest.mark.parametrize("wrong", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_logits_that_are_no_numbers_are_refused_by_the_name_of_the_input(energy, wrong):
    swift = Box("swift", {"the second": wrong})
    with pytest.raises(ValueError, match=r"swift gave input 1 \('the second'\) NaN or infinite logits"):
        JointInference(swift, bomb, energy=energy, super_share=0.5, batch_size=1)(["a", "the second", "c"])


def test_nan_in_one_step_of_many_is_refused():
    with pytest.raises(ValueError, match=r"input 0 .* NaN"):
        JointInference(Box("swift", {"a": [[0.0, 1.0], [0.0, math.nan]]}), bomb, threshold=0.0)(["a"])


def test_nan_logits_of_super_are_refused_too():
    with pytest.raises(ValueError, match=r"super gave NaN .*'b'"):
        JointInference(SWIFT, Box("super", {"b": [math.nan, 0.0]}), super_share=1.0)(["a", "b"])


@pytest.mark.parametrize("single", [0.3, [0.3], [[0.3], [0.4]]])
def test_a_single_logit_has_no_energy(single):
    with pytest.raises(ValueError, match=r"input 0 \('a'\) (a single logit|logits of shape)"):
        JointInference(Box("swift", {"a": single}), bomb, threshold=0.0)(["a"])


def test_models_that_dont_answer_input_by_input_are_refused():
    for wrong, swift in {
        "swift returned 1 predictions for 2 inputs": lambda x: Outputs([1], np.zeros((2, 2))),
        "swift returned 3 logits for 2 inputs": lambda x: Outputs([1, 2], np.zeros((3, 2))),
        "swift returned no logits": lambda x: Outputs([1, 2]),
        "swift returned a tuple": lambda x: ([1, 2], np.zeros((2, 2))),
        "swift's predictions must be a list": lambda x: Outputs("no", np.zeros((2, 2))),
    }.items():
        with pytest.raises(ValueError, match=wrong):
            JointInference(swift, bomb, threshold=0.0)(["a", "b"])


def test_arguments_out_of_range_are_refused():
    for wrong, arguments in {
        "unknown energy 'heat'": {"energy": "heat"},
        "threshold is NaN": {"threshold": math.nan},
        "super_share must be between": {"super_share": -0.1},
        "temperature must be a number above 0": {"temperature": 0.0},
        "batch_size must be at least 1": {"batch_size": 0},
        "swift must be a callable": {"swift": "a name"},
    }.items():
        with pytest.raises(ValueError, match=wrong):
            JointInference(**{"swift": SWIFT, "super": bomb, **arguments})
    with pytest.raises(ValueError, match="nothing says which inputs go to Super"):
        JointInference(bomb, bomb)(["a"])
    with pytest.raises(ValueError, match="inputs must be a list"):
        JointInference(bomb, bomb, threshold=0.0)("a text")


def test_the_repr_shows_what_was_given():
    joint = JointInference(operator.add, operator.sub, energy="entropy", threshold=0.5)
    assert repr(joint) == f"JointInference({operator.add!r}, {operator.sub!r}, energy='entropy', threshold=0.5)"
