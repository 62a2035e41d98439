"""How many replicas a rate needs."""

from __future__ import annotations

import pytest

from experiments.online import planning
from experiments.online.planning import COLUMNS, plan_replicas
from experiments.online.simulation import Service
from tests.experiments.online.made import NDCG, SECONDS, one_rung, rungs

SLO = 5 * SECONDS[-1]
RATES, CELL = [1.0, 10_000.0], 8


@pytest.fixture(scope="module")
def plan():
    with pytest.MonkeyPatch.context() as patch:  # smaller cells and shorter runs: seconds instead of a minute
        patch.setattr(planning, "CELL", CELL)
        patch.setattr(planning, "OBJECTIVES", 10)
        patch.setattr(planning, "FEWEST", 2_000)
        table = plan_replicas(rungs(), RATES, Service(SLO), progress=False)
    return table.set_index(["rate", "system"])


def test_elastic_needs_fewer_replicas_than_full(plan):
    assert list(plan.reset_index().columns) == list(COLUMNS)
    for rate in RATES:
        full, elastic = (plan.loc[(rate, name), "replicas"] for name in ("static full", "elastic"))
        kept = plan.loc[(rate, "elastic, 95% of nDCG@10"), "replicas"]
        assert elastic <= kept <= full
    assert plan.loc[(10_000.0, "elastic"), "replicas"] < plan.loc[(10_000.0, "static full"), "replicas"] / 5


def test_plans_meet_the_objective_and_keep_the_quality(plan):
    assert (plan["within"] >= 0.98).all()  # found to 1 % of a cell's rate
    kept = plan.xs("elastic, 95% of nDCG@10", level="system")
    assert (kept["nDCG@10"] >= 0.95 * NDCG[-1] - 0.002).all()


def test_no_plan_has_less_than_the_work_needs(plan):
    full = plan.xs("static full", level="system")["replicas"]
    for rate, replicas in full.items():
        assert rate * SECONDS[-1] <= 1.02 * replicas <= 1.25 * rate * SECONDS[-1] + 2
    assert full[10_000.0] > CELL


def test_an_objective_shorter_than_a_service_has_no_plan():
    table = plan_replicas(one_rung(1.0), [1.0], Service(0.5), progress=False)
    assert table["replicas"].isna().all()


@pytest.mark.parametrize("wrong", [{"rates": []}, {"rates": [0.0]}, {"keep": 1.1}])
def test_nonsense_is_refused(wrong):
    settings = {"rates": [1.0], "keep": 0.9, **wrong}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        plan_replicas(rungs(), settings.pop("rates"), Service(SLO), progress=False, **settings)
