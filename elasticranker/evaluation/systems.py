"""What an experiment compares: one ranker at several budgets, under names that results are kept by.

A system's name is the ranker's and its budget: "elastic 25%".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticranker.evaluation.manifest import today, versions
from elasticranker.files import refuse_other_job
from elasticranker.planning.budget import Budget
from elasticranker.runs.resumable import scoring_settings

if TYPE_CHECKING:
    from elasticranker.ranker import ElasticRanker

FULL = "100%"


def named_systems(ranker: ElasticRanker, budgets: Sequence[str], name: str = "elastic") -> dict[str, ElasticRanker]:
    """Siblings of a ranker by system, in the given order.

    Raises:
        ValueError: A budget isn't one, or comes twice; or a name that a file can't have.
    """
    if not re.fullmatch(r"[\w.+-]+", name):
        raise ValueError(f"name={name!r}: letters, digits and any of ._+- make a name that tables and files can show")
    siblings = [ranker.with_budget(budget) for budget in budgets]
    names = [system_name(name, sibling.budget) for sibling in siblings]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"budgets={list(budgets)}: give one or more budgets, each of them once")
    return dict(zip(names, siblings, strict=True))


def system_name(name: str, budget: Budget) -> str:
    """What a ranker at a budget is called: "elastic 25%", at full "elastic 100%"."""
    return f"{name} {FULL if budget.is_full else budget}"


def file_name(system: str) -> str:
    """A system's name in names of files, and as the tag of a run: "elastic-25pct", "elastic-20GFLOPs"."""
    return system.replace("%", "pct").replace(" ", "-", 1).replace(" ", "")


def claim(known: dict[str, Any], systems: Mapping[str, ElasticRanker], folder: Path) -> None:
    """Enter systems into what a folder knows of its own: everything that their rankings depend on.

    Raises:
        ValueError: One of them is there, and is another ranker.
    """
    for system, ranker in systems.items():
        name, _, budget = system.partition(" ")
        here = {
            "system": name,
            "budget": budget,
            "checkpoint fingerprint": ranker.fingerprint,
            **ranker_settings(ranker),
        }
        if system in known:
            there = {fact: value for fact, value in known[system].items() if fact not in ("date", "versions")}
            remedy = "give this one another name (--name), or choose another --output"
            refuse_other_job(there, here, place=f"{folder}: {system}", remedy=remedy)
        else:
            known[system] = {**here, "date": today(), "versions": versions()}


def ranker_settings(ranker: ElasticRanker) -> dict[str, Any]:
    """Settings of a ranker that change scores or times."""
    return {**scoring_settings(ranker), "batch_size": ranker.batch_size}


def choose_baseline(wanted: str | None, systems: Sequence[str], name: str) -> str | None:
    """The system that the others are tested against.

    Args:
        wanted: A system, or a budget of the ranker called `name`; None for its full model, or else anybody's.
        systems: All there are, the first stage among them.
        name: What the ranker is called.

    Returns:
        One of `systems`; None where none was wanted and there is no full model.

    Raises:
        ValueError: There is no such system.
    """
    full = system_name(name, Budget(FULL))
    if wanted is None:
        return next((system for system in [full, *systems] if system in systems and system.endswith(f" {FULL}")), None)
    try:
        named = system_name(name, Budget(wanted))
    except ValueError:  # not a budget, so a system's name
        named = wanted
    if named not in systems:
        raise ValueError(f"baseline={wanted!r}: there is no such system; choose among {', '.join(systems)}")
    return named
