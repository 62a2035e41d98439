"""What an experiment compares: rankers, often one at several budgets, under names that results are kept by.

A system's name is the ranker's and its budget, where it has one: "elastic 25%".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import pyterrier as pt

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
    check_name(name)
    siblings = [ranker.with_budget(budget) for budget in budgets]
    names = [system_name(name, sibling.budget) for sibling in siblings]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"budgets={list(budgets)}: give one or more budgets, each of them once")
    return dict(zip(names, siblings, strict=True))


def traced_systems(rankers: Sequence[pt.Transformer] | Mapping[str, pt.Transformer]) -> dict[str, pt.Transformer]:
    """Siblings of rankers that tell what they spend, by system, in the given order.

    Raises:
        ValueError: there are none, two have one name, or a name that a file can't have.
    """
    named = list(rankers.items()) if isinstance(rankers, Mapping) else [(ranker_name(r), r) for r in rankers]
    systems: dict[str, pt.Transformer] = {}
    for name, ranker in named:
        check_name(name)
        budget = getattr(ranker, "budget", None) if hasattr(ranker, "with_budget") else None
        system = name if budget is None else system_name(name, budget)
        if system in systems:
            raise ValueError(f"rankers: two are called {system!r}: give a mapping from names to rankers")
        systems[system] = ranker.traced() if hasattr(ranker, "traced") else ranker
    if not systems:
        raise ValueError("rankers=[]: give one or more")
    return systems


def ranker_name(ranker: pt.Transformer) -> str:
    """What a ranker is called where nobody says: by its model, or by its class."""
    model = getattr(ranker, "model", None)
    return model_name(model) if isinstance(model, str) else type(ranker).__name__


def model_name(model: str) -> str:
    """What a model is called where nobody says: "elastic" the one that ships, others by the last part of their name."""
    return "elastic" if model == "default" else model.rstrip("/").rpartition("/")[2]


def check_name(name: str) -> None:
    """Refuse a name that tables and files can't show.

    Raises:
        ValueError: it has other signs.
    """
    if not re.fullmatch(r"[\w.+-]+", name):
        raise ValueError(f"name={name!r}: letters, digits and any of ._+- make a name that tables and files can show")


def split_name(system: str) -> tuple[str, str]:
    """A system's own name and its budget, "" where it has none."""
    name, _, budget = system.partition(" ")
    return name, budget


def system_named(wanted: str, systems: Iterable[str]) -> str:
    """The one of some systems that somebody means by its name, or by its budget alone.

    Raises:
        ValueError: it is none of them, or several.
    """
    known = list(systems)
    if wanted in known:
        return wanted
    try:
        budget = system_name("", Budget(wanted))
    except ValueError:  # not a budget, so a name
        budget = f" {wanted}"
    found = [system for system in known if system.endswith(budget)]
    if len(found) != 1:
        raise ValueError(f"system {wanted!r} is {len(found)} of those compared: choose among {', '.join(known)}")
    return found[0]


def system_name(name: str, budget: Budget) -> str:
    """What a ranker at a budget is called: "elastic 25%", at full "elastic 100%"."""
    return f"{name} {FULL if budget.is_full else budget}"


def file_name(system: str) -> str:
    """A system's name in names of files, and as the tag of a run: "elastic-25pct", "elastic-20GFLOPs"."""
    return system.replace("%", "pct").replace(" ", "-", 1).replace(" ", "")


def claim(known: dict[str, Any], systems: Mapping[str, pt.Transformer], folder: str) -> None:
    """Enter systems into what a folder knows of its own: everything that their rankings depend on.

    Raises:
        ValueError: One of them is there, and is another ranker.
    """
    for system, ranker in systems.items():
        name, budget = split_name(system)
        here = {"system": name, "budget": budget, **facts_of(ranker)}
        if system in known:
            there = {fact: value for fact, value in known[system].items() if fact not in ("date", "versions")}
            remedy = "give this one another name (--name), or choose another --output"
            refuse_other_job(there, here, place=f"{folder}: {system}", remedy=remedy)
        else:
            known[system] = {**here, "date": today(), "versions": versions()}


def facts_of(ranker: pt.Transformer) -> dict[str, Any]:
    """Everything that a ranker's rankings and times depend on, as far as it tells."""
    if not hasattr(ranker, "fingerprint"):
        return {"ranker": repr(ranker)}
    return {"checkpoint fingerprint": ranker.fingerprint, **ranker_settings(cast("ElasticRanker", ranker))}


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
