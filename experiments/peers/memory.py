"""Peak memory of each system alone: what it adds to a process in which all libraries are imported.

A child process imports those of the systems once and then forks, a system a fork: the fork loads that system, reranks
a query, and its highest resident memory (`VmHWM` of /proc/self/status) less what it held at its start is the system's
peak: weights, activations and the runtime's own arenas. Where there is no /proc or fork, nothing is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.peers.setup import Setup

STATUS = Path("/proc/self/status")
COLUMNS = ["qid", "query", "docno", "text", "score", "rank"]
OURS = ("elasticranker.model.engine", "elasticranker.ranker", "experiments.peers.cross_encoder", "transformers")


def peak_memory(jobs: Mapping[str, int], setup: Setup, frame: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Peak memory of systems, one after the other.

    Args:
        jobs: name of a system to the pairs of its batch.
        setup: what they run on; exports must be there.
        frame: what each reranks.

    Yields:
        Name and MB (10^6 bytes), as each is done; NaN for one that failed in its fork.
    """
    if not STATUS.exists() or not hasattr(os, "fork"):
        yield from ((name, float("nan")) for name in jobs)
        return
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    told = {"setup": asdict(setup), "jobs": dict(jobs), "rows": frame[COLUMNS].to_dict("list")}
    child = subprocess.Popen(
        [sys.executable, "-m", "experiments.peers.memory"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(setup.threads)},
    )
    seen = set()
    try:
        if child.stdin is None or child.stdout is None:
            raise OSError("the process that measures memory has no pipes")
        with contextlib.suppress(BrokenPipeError), child.stdin:
            json.dump(told, child.stdin)
        for line in child.stdout:
            if line.startswith("{"):
                answer = json.loads(line)
                seen.add(answer["system"])
                yield answer["system"], answer["mb"]
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    yield from ((name, float("nan")) for name in jobs if name not in seen)


def kilobytes(field: str) -> int:
    """A field of /proc/self/status: "VmRSS" (resident now) or "VmHWM" (the most it was)."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise KeyError(f"{STATUS} has no field {field}")


def _measured(name: str, batch: int, setup: Setup, frame: pd.DataFrame) -> float:
    """MB that this process grows by, at most, while it loads one system and reranks a frame."""
    from experiments.peers.systems import open_system

    start = kilobytes("VmRSS")
    open_system(name, setup, batch).rerank(frame)
    return (kilobytes("VmHWM") - start) * 1024 / 1e6


def main() -> None:
    """The child process: jobs on standard input, a line of JSON a system on standard output."""
    told: dict[str, Any] = json.load(sys.stdin)
    setup, frame = Setup(**told["setup"]), pd.DataFrame(told["rows"])
    libraries = {name.partition(",")[0].replace("-", "_") for name in told["jobs"]} - {"ours"}
    for package in (*OURS, *sorted(libraries)):
        with contextlib.suppress(ImportError):
            import_module(package)
    for name, batch in told["jobs"].items():
        process = os.fork()
        if process:
            os.waitpid(process, 0)
            continue
        status = 1
        try:
            import torch

            torch.set_num_threads(setup.threads)
            mb = _measured(name, batch, setup, frame)
            os.write(1, (json.dumps({"system": name, "mb": mb}) + "\n").encode())
            status = 0
        finally:
            os._exit(status)  # without the clean-up that belongs to the parent


if __name__ == "__main__":
    main()
