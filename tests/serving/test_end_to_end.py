"""The real thing: `elasticranker serve` in a process of its own, on a free loopback port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests

from elasticranker import ElasticRanker, RemoteRanker
from elasticranker.planning.ladder import Ladder, Rung
from elasticranker.planning.plan import Plan, Stage, SubNet
from elasticranker.serving.client import RerankClient
from tests.backbones import WORDS
from tests.planning.test_cost import elastic
from tests.serving.process import PATIENCE, ROOT, serve

RANDOM = Random(0)
BODY = {"query": "how do i copy a folder", "texts": [" ".join(RANDOM.choices(WORDS, k=30)) for _ in range(400)]}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = elastic(tmp_path_factory.mktemp("source"))
    half, full = SubNet(1, 0.5), SubNet(made.encoder.shape.layers)
    plans = {
        0.05: Plan((Stage(SubNet(0), 1.0, 0.5),)),
        0.3: Plan((Stage(SubNet(0), 0.1, 0.5), Stage(half, 0.9))),
        0.6: Plan((Stage(half, 0.4, 0.1), Stage(full, 0.6))),
        1.0: Plan((Stage(full, 1.0),)),
    }
    ladder = Ladder(tuple(Rung(share, plan) for share, plan in plans.items()), full)
    return str(replace(made, ladder=ladder).save(tmp_path_factory.mktemp("elastic")))


def leave_in_the_middle(url: str) -> None:
    """Send a whole request, and hang up before its answer."""
    host, _, port = url.removeprefix("http://").partition(":")
    content = json.dumps(BODY).encode()
    head = (
        f"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(head.encode() + content)


def outcome(url: str) -> Any:
    """The status that a request ends with, or the error."""
    try:
        answer = requests.post(f"{url}/rerank", json=BODY, timeout=PATIENCE)
    except requests.ConnectionError as error:
        return error
    return answer.status_code if len(answer.json()) == len(BODY["texts"]) else answer.text


def answers(url: str) -> int:
    """How many requests the server has ranked."""
    text = requests.get(f"{url}/metrics", timeout=PATIENCE).text
    return int(
        sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("elasticranker_rung_total"))
    )


def test_a_server_answers_survives_its_clients_and_ends_well(checkpoint: str) -> None:
    with serve("--model", checkpoint, "--slo", "60 s", ELASTICRANKER_API_KEY="") as server:
        assert requests.get(f"{server.url}/health", timeout=PATIENCE).json() == {"status": "ok"}
        scores = RerankClient(server.url).rerank("how do i copy a folder", ["river bank", "copy folder"], budget="full")
        assert scores[0] != scores[1]

        for body in (b"", b"{", b"[" * 10_000, b'{"query": 1, "texts": ["a"]}', os.urandom(300)):
            answer = requests.post(
                f"{server.url}/rerank", data=body, headers={"Content-Type": "application/json"}, timeout=PATIENCE
            )
            assert answer.status_code in (400, 422)
        for _ in range(3):
            leave_in_the_middle(server.url)
        assert outcome(server.url) == 200
        before = answers(server.url)

        clients = 12
        with ThreadPoolExecutor(clients) as threads:
            running = [threads.submit(outcome, server.url) for _ in range(clients)]
            running[0].result(PATIENCE)  # some are done, others wait or run
            server.process.send_signal(signal.SIGTERM)
            outcomes = [one.result(PATIENCE) for one in running]
        status, written = server.end()
    assert status == 0, written
    (line,) = [line for line in written.splitlines() if line.startswith("answered ")]
    answered, accepted, left = [int(word) for word in [*line.split(), "0"] if word.isdecimal()][:3]
    # All that was accepted was answered, and its client has the answer; the others came too late to be accepted.
    assert answered == accepted - left
    assert outcomes.count(200) == answered - before >= 1
    assert all(isinstance(one, requests.ConnectionError) for one in outcomes if one not in (200, 503))
    assert "Traceback" not in written


def test_a_port_in_use_is_found_out_before_the_model_is_loaded(checkpoint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "elasticranker", "serve", "--port", number, "--model", checkpoint]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{number} (Address already in use)" in done.stderr
    assert "loading" not in done.stderr


def test_an_exact_remote_run_is_the_local_one(checkpoint: str) -> None:
    rows = pd.DataFrame(
        [
            (qid, query, str(place), " ".join(RANDOM.choices(WORDS, k=place)), 100.0 - place)
            for qid, query in zip("abcdef", (" ".join(RANDOM.choices(WORDS, k=4)) for _ in range(6)), strict=True)
            for place in range(20)
        ],
        columns=["qid", "query", "docno", "text", "score"],
    )
    # An objective that only the cheapest plan comes near to: a busy server, to the schedule.
    with serve("--model", checkpoint, "--slo", "1 us", "--max-wait", "60 s", ELASTICRANKER_API_KEY="") as server:
        for budget in ("full", "60%", "47.11%", "30%", "8%", "1.234567 MFLOPs"):
            decided = RemoteRanker(server.url, budget=budget, trace=True)(rows)
            exact = RemoteRanker(server.url, budget=budget, exact=True, trace=True)(rows)
            local = ElasticRanker(checkpoint, budget=budget, trace=True)(rows)
            assert set(decided["served_budget"]) == {"5%"}
            assert exact["docno"].tolist() == local["docno"].tolist()
            np.testing.assert_allclose(exact["score"], local["score"], atol=1e-5)
            spent = local.groupby("qid")["spend"].sum()
            assert exact.groupby("qid")["served_spend"].first().tolist() == spent.tolist()
