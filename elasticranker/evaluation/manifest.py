"""What a measurement was made with: versions, processor, threads, checkpoint."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from elasticranker.files import read_json, refuse_other_job, write_json
from elasticranker.version import __version__

PACKAGES = ("elasticranker", "torch", "transformers", "pyterrier", "ir-measures", "numpy", "pandas", "scipy")
BESIDE = 0.5  # what the load average exceeds the cores by while nothing runs but the measurement


def processor() -> str:
    """Name of the processor as the system gives it, for example "Intel(R) Xeon(R) Platinum 8488C"."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed versions of Python and of the packages that are there."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            # Ours by what runs: an editable install's metadata may be of an older day.
            found[package] = __version__ if package == "elasticranker" else metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """What times depend on: processor, the cores that this process may use, and the threads of torch."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": processor(), "cores": cores, "threads": torch.get_num_threads()}


def claim_machine(place: Path, journal: Path) -> None:
    """Make sure that a journal is measured on this machine alone.

    Args:
        place: JSON file that says on which; it is made if need be.
        journal: what is measured.

    Raises:
        ValueError: it was begun on another machine, or with other threads.
    """
    here = machine()
    if place.exists():
        remedy = f"delete {journal} and {place} to measure again here"
        refuse_other_job(read_json(place), here, place=journal, remedy=remedy)
    write_json(place, here)


def load_warning(highest: float, cores: int) -> str | None:
    """What a report says of times that were measured beside other work.

    Args:
        highest: load average (of one minute) while it was measured.
        cores: that the process could use.
    """
    if highest <= cores + BESIDE:
        return None
    return (
        f"Warning: the load average was up to {highest:.1f} on {cores} cores while this was measured: other work ran "
        "beside it, so the milliseconds are too high and their ratios less sure."
    )


def today() -> str:
    """Date and time now, in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
