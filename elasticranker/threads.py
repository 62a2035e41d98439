"""How the threads that compute wait for each other: briefly, then asleep.

Between two products of matrices OpenMP's threads wait for the next one, and GNU's, which PyTorch uses on Linux, spin
while they do, by default for some milliseconds. On an idle machine that is quick. Beside other work the thread that
spins holds a core that the thread it waits for could use, product after product, and a query takes several times as
long. A short spin bridges the gap to the next product all the same, and then lets go of the core. `python -m
experiments.threads` measures it, on an idle machine and beside one and two busy cores.

How many threads compute is torch's to choose: `OMP_NUM_THREADS`, or the cores there are. `ElasticRanker(threads=...)`
and `--threads` choose otherwise.
"""

from __future__ import annotations

import os

SPINS = 10_000  # turns of the loop that waits, some tenths of a millisecond; GNU's default is 300,000


def spin_briefly() -> None:
    """Let OpenMP's threads spin briefly, unless the environment says how they wait.

    It is read when torch is imported, and never again: where that came first, it has no effect.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
