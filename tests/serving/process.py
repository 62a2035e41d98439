"""`elasticranker serve` in a process of its own, on a free loopback port."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0  # seconds until a test that hangs fails


class Served:
    """A running server; `lines` are what it wrote to standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, []
        self.url = ""
        for line in process.stderr or ():
            self.lines.append(line)
            if line.startswith("serving on "):
                self.url = line.removeprefix("serving on ").strip()
                break

    def end(self) -> tuple[int, str]:
        """Exit status, and all that it wrote, once it has ended."""
        _, rest = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, "".join(self.lines) + rest


@contextmanager
def serve(*arguments: str, **environment: str) -> Iterator[Served]:
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}
    command = [sys.executable, "-m", "elasticranker", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        served = Served(process)
        if not served.url:
            raise RuntimeError("".join(served.lines))
        yield served
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
