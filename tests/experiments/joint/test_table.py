"""Joint inference evaluated on stored answers, by hand."""

import numpy as np
import pytest

from experiments.joint.table import Answers, Sample, crossed_table, joint_table, routed

N = 8


def answers(name, quality, gflops, ms):
    quality = np.array(quality, dtype=float)
    return Answers([f"{name}{place}" for place in range(N)], quality, np.full(N, gflops), np.full(N, ms))


def sample(energies, swift=(1, 1, 1, 1, 0, 0, 0, 0), super=(1,) * N):
    """Swift fails on the second half, Super (of 20 times the FLOPs and 10 times the time) on nothing."""
    return Sample(
        answers("swift", swift, 1.0, 10.0),
        answers("super", super, 20.0, 100.0),
        {name: np.array(values, dtype=float) for name, values in energies.items()},
        lambda given: {"from super": sum(answer.startswith("super") for answer in given) / N},
    )


GOOD, BAD = [1, 2, 3, 4, 8, 7, 6, 5], [8, 7, 6, 5, 4, 3, 2, 1]


def table(calibration=None, reported=None, **settings):
    calibration, reported = calibration or sample({"good": GOOD}), reported or sample({"good": GOOD})
    return joint_table(calibration, reported, **{"shares": [0.5], "tolerance": 0.0, **settings})


def test_super_answers_what_is_chosen_and_is_paid_on_top_of_swift():
    ours = routed(sample({}), np.arange(N) >= 6)
    assert ours.predictions == [*(f"swift{place}" for place in range(6)), "super6", "super7"]
    assert ours.quality.tolist() == [1, 1, 1, 1, 0, 0, 1, 1]
    assert ours.gflops.tolist() == [1] * 6 + [21] * 2 and ours.ms.tolist() == [10] * 6 + [110] * 2


def test_an_energy_that_knows_swifts_errors_buys_supers_quality_with_half_of_the_calls():
    rows = table().set_index(["system", "share"])
    good, random = rows.loc[("good", 0.5)], rows.loc[("random", 0.5)]
    assert good["super_share"] == good["from super"] == random["from super"] == random["super_share"] == 0.5
    assert (good["gflops_mean"], good["gflops_max"], good["ms_mean"], good["ms_p50"]) == (11, 21, 60, 60)
    assert good["over_random"] == pytest.approx(1.0 - 0.75)  # random: half of the four errors
    assert good["p_random"] == pytest.approx(2 * 0.0331, abs=1e-3)  # t = 2.65 with 7 degrees of freedom; two rows
    assert rows.loc[("oracle", 0.5), "super_share"] == 0.5


def test_the_cheapest_way_to_supers_quality():
    rows = table(tolerance=0.25).set_index(["system", "within"])
    assert rows.loc[("good", 0.25), "super_share"] == 0.25  # two of the four errors may stay
    assert table().set_index(["system", "within"]).loc[("good", 0.0), "super_share"] == 0.5


def test_thresholds_come_from_the_calibration_sample_alone():
    higher = [value + 4 for value in GOOD]
    rows = table(reported=sample({"good": higher})).set_index(["system", "share"])
    assert rows.loc[("good", 0.5), "super_share"] == 1.0
    rows = table(reported=sample({"good": BAD})).set_index(["system", "share"])
    assert rows.loc[("good", 0.5), "over_random"] == pytest.approx(-0.25)


def test_energies_stand_side_by_side_and_p_values_are_corrected_for_all_of_them():
    both = sample({"good": GOOD, "bad": BAD})
    rows = table(both, both, shares=[0.25, 0.5])
    order = ["random", "good", "bad", "oracle"]
    assert rows["system"].tolist() == ["swift", "super", *order, *order, "good", "bad"]
    assert rows["share"].isna().sum() == 4 and rows["within"].notna().sum() == 2
    alone = table().set_index(["system", "share"]).loc[("good", 0.5), "p_random"]
    assert rows.set_index(["system", "share"]).loc[("good", 0.5), "p_random"] > alone


def test_where_swift_is_as_good_nobody_goes_to_super():
    level = sample({"good": GOOD}, swift=[1] * N)
    rows = table(level, level).set_index(["system", "within"])
    assert rows.loc[("good", 0.0), "super_share"] == 0.0


def test_each_half_is_routed_by_the_thresholds_of_the_other():
    one, other = np.array_split(np.random.default_rng(0).permutation(N), 2)
    energies = np.empty(N)
    energies[one], energies[other] = [1, 2, 3, 4], [11, 12, 13, 14]
    rows = crossed_table(sample({"good": energies}), shares=[0.5], tolerance=0.0).set_index(["system", "share"])
    # The low half stays below the other's threshold of 12.5, the high half is above that of 2.5.
    assert rows.loc[("good", 0.5), "super_share"] == 0.5
    chosen = np.isin(np.arange(N), other)
    expected = routed(sample({"good": energies}), chosen)
    assert rows.loc[("good", 0.5), "from super"] == np.mean([word.startswith("super") for word in expected.predictions])
    assert rows.loc[("good", 0.5), "gflops_mean"] == expected.gflops.mean()


def test_a_sample_crossed_has_the_rows_of_one_that_is_calibrated_elsewhere():
    crossed = crossed_table(sample({"good": GOOD}), shares=[0.5], tolerance=0.0)
    there = table()
    assert crossed[["system", "share", "within"]].equals(there[["system", "share", "within"]])
    for untouched in ("swift", "super", "random", "oracle"):
        ours, theirs = (made[made["system"] == untouched].drop(columns="p_random") for made in (crossed, there))
        assert ours.equals(theirs)


def test_too_few_inputs_cannot_be_crossed():
    few = sample({"good": GOOD})
    short = Answers(["a"] * 3, np.ones(3), np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="only 3 inputs: setting thresholds on a half of them needs at least 4"):
        crossed_table(Sample(short, short, {}, few.measure), shares=[0.5], tolerance=0.0)
