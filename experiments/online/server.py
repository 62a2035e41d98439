"""The real server in a process of its own, for as long as a measurement takes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

START, STOP = 300.0, 90.0  # seconds to load and measure its speed, and to finish what it accepted
POLL = 0.2


@contextmanager
def serving(arguments: Sequence[str], log: str | Path) -> Iterator[str]:
    """Start `elasticranker serve` on a free loopback port, and stop it as a supervisor would: by SIGTERM.

    Args:
        arguments: of the command, without host and port.
        log: what the server prints goes to this file.

    Yields:
        Its address, once it is healthy.

    Raises:
        OSError: it ended or did not become healthy; the message has the end of its log.

    Example:
        >>> with serving(["--slo", "2 s"], "server.log") as url:
        ...     httpx.get(f"{url}/health")
    """
    import httpx

    port = free_port()
    command = [sys.executable, "-m", "elasticranker", "serve", "--host", "127.0.0.1", "--port", str(port), *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "ELASTICRANKER_API_KEY"}
    url = f"http://127.0.0.1:{port}"
    with open(log, "ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + START
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            while not _healthy(client, url):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise OSError(f"the server did not start: {_end(log)} (see {log})")
                time.sleep(POLL)
        yield url
        if process.poll() is not None:
            raise OSError(f"the server ended by itself, status {process.returncode}: {_end(log)} (see {log})")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _healthy(client: httpx.Client, url: str) -> bool:
    import httpx

    try:
        return client.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def _end(log: str | Path) -> str:
    lines = Path(log).read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]) or "it said nothing"
