"""The open-loop client and the load experiment against a server that answers at once."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from elasticranker.evaluation.candidates import Candidates
from elasticranker.files import read_json
from experiments.online.client import Reply, as_outcome, send, workload
from experiments.online.folder import Job
from experiments.online.load import run_load
from experiments.online.outcome import ANSWERED, FAILED, REJECTED, UNANSWERED, summary
from experiments.online.server import serving
from tests.experiments.online.made import SHARES, FakeServer
from tests.fakes import FakeRanker

AT_ONCE = np.zeros(3)


class Named:
    name = "made"


@pytest.fixture
def candidates() -> Candidates:
    rows = [
        (qid, f"query {qid}", f"{qid}-{rank}", f"text {rank}", 10.0 - rank, rank)
        for qid in ("a", "b")
        for rank in range(4)
    ]
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])
    qrels = pd.DataFrame({"qid": ["a", "b"], "docno": ["a-3", "b-2"], "label": [1, 1]})
    return Candidates("first", frame, qrels, 2)


@pytest.fixture
def work(candidates):
    return workload(candidates)


@pytest.fixture
def server():
    return FakeServer()


def test_requests_carry_texts_and_incoming_scores_in_order(work, server):
    with server.running() as url:
        send(url, work, np.zeros(1), np.array([1]), drain=30)
    (body,) = server.bodies
    assert body["query"] == "query b"
    assert body["texts"] == [f"text {rank}" for rank in range(4)]
    assert body["scores"] == [10.0, 9.0, 8.0, 7.0]
    assert body["truncate"] is True
    assert body["raw_scores"] is True


def test_what_was_served_is_judged_by_the_scores_that_came_back(work, server):
    queries = np.array([0, 1, 0])
    with server.running() as url:
        outcome = as_outcome(send(url, work, AT_ONCE, queries, drain=30), work, queries, rel=1)
    assert (outcome.status == ANSWERED).all()
    assert outcome.rr.tolist() == [1.0, 0.5, 1.0]  # the texts come back reversed
    assert outcome.ndcg[0] == 1.0
    assert outcome.share.tolist() == [0.25] * 3
    assert (outcome.latency > 0).all()


def test_rejects_and_errors_are_told_apart(work, server):
    server.statuses = [429, 500]
    queries = np.zeros(3, dtype=np.int64)
    with server.running() as url:
        outcome = as_outcome(send(url, work, AT_ONCE, queries, drain=30), work, queries, rel=1)
    assert sorted(outcome.status.tolist()) == [ANSWERED, REJECTED, FAILED]
    assert np.isnan(outcome.latency).sum() == 2


def test_a_server_that_is_gone_counts_as_failed(work, server):
    with server.running() as url:
        pass
    queries = np.zeros(3, dtype=np.int64)
    outcome = as_outcome(send(url, work, AT_ONCE, queries, drain=30), work, queries, rel=1)
    assert (outcome.status == FAILED).all()


def test_requests_leave_on_schedule_while_earlier_ones_wait(work, server):
    server.silent = {"query a"}
    queries = np.array([0, 0, 1])
    with server.running() as url:
        replies = send(url, work, np.array([0.0, 0.0, 0.01]), queries, drain=0.3)
    assert [reply.status for reply in replies] == [0, 0, 200]
    outcome = as_outcome(replies, work, queries, rel=1)
    assert outcome.status.tolist() == [UNANSWERED, UNANSWERED, ANSWERED]
    numbers = summary(outcome, slo=1e-3)
    assert numbers["at_least"]
    assert numbers["unanswered"] == 2
    assert numbers["p99"] >= 300.0  # they waited at least as long as the client did
    assert numbers["within"] == 0.0


@pytest.mark.parametrize("body", [b"not json", b'{"error": 1}', b'[{"index": 0, "score": 1}]'])
def test_an_answer_of_another_form_is_an_error(work, body):
    with pytest.raises(ValueError, match="the server"):
        as_outcome([Reply(200, 0.1, "25%", body)], work, np.zeros(1, dtype=np.int64), rel=1)


@pytest.fixture
def experiment(candidates, server, tmp_path):
    """Run `load` into `out`; `started` lists the arguments of the servers."""
    started: list[list[str]] = []

    @contextmanager
    def serve(arguments, log):
        started.append(list(arguments))
        with server.running() as url:
            yield url

    def call(**settings) -> pd.DataFrame:
        ranker = FakeRanker(trace=True)
        job = Job(Named(), ranker, candidates, SHARES, 1, "made up")  # type: ignore[arg-type]
        settings = {"loads": [0.5], "seconds": 0.02, "drain": 30.0, "slo": 5.0, "progress": False, **settings}
        return run_load(job, output=tmp_path / "out", serve=serve, **settings)

    call.started = started  # type: ignore[attr-defined]
    return call


def test_every_system_gets_the_same_requests_and_a_server_of_its_own(experiment, server, tmp_path):
    results = experiment()
    assert results["system"].tolist() == ["static full", "static middle", "static smallest", "elastic"]
    assert results["requests"].nunique() == 1
    static = [a[a.index("--static") + 1] if "--static" in a else None for a in experiment.started]
    assert static == ["100%", "100%", "25%", "1%", None]  # the first times the full model alone
    assert experiment.started[-1][experiment.started[-1].index("--slo") + 1] == "5000 ms"
    out = tmp_path / "out"
    assert {"measured.csv", "online-poisson.png", "report.md", "manifest.json"} <= {p.name for p in out.iterdir()}
    assert "Measured: the real server on loopback" in (out / "report.md").read_text()
    assert read_json(out / "manifest.json")["load"]["slo"] == 5.0


def test_what_was_measured_is_not_measured_again(experiment, tmp_path):
    first = experiment()
    experiment.started.clear()
    pd.testing.assert_frame_equal(experiment(), first)
    assert not experiment.started
    journal = tmp_path / "out" / "load.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]) + '{"torn')
    experiment()
    assert len(experiment.started) == 1
    experiment(loads=[0.5, 1.0], compared=["elastic", "static full"])
    assert len(experiment.started) == 3


def test_other_settings_under_the_same_output_are_refused(experiment):
    experiment()
    with pytest.raises(ValueError, match="drain"):
        experiment(drain=1.0)


def test_the_objective_is_five_times_the_unloaded_latency_by_default(experiment, tmp_path):
    experiment(slo=None)
    part = read_json(tmp_path / "out" / "manifest.json")["load"]
    assert part["slo"] == pytest.approx(5 * part["full_seconds"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"loads": []},
        {"loads": [1.0, 1.0]},
        {"seconds": 0},
        {"arrivals": "x"},
        {"compared": ["x"]},
        {"drain": -1.0},
        {"slo": 0.0},
    ],
)
def test_nonsense_is_refused_before_a_server_starts(experiment, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        experiment(**wrong)
    assert not experiment.started


def test_a_server_that_does_not_start_is_an_error_with_its_last_words(tmp_path):
    with (
        pytest.raises(OSError, match=r"did not start: .*soon"),
        serving(["--slo", "soon"], tmp_path / "log"),
    ):
        raise AssertionError("not reached")
