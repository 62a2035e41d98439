"""Dense retrieval at many depths: the table is right, what is done is kept, answers are found as DPR finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from elasticranker.collections import open_collection
from elasticranker.denser import ElasticDenser
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.subnet import SubNet
from elasticranker.trec import read_run
from experiments.dense.__main__ import main
from experiments.dense.answers import answers_of, holds, recall, tokens
from tests.denser.tiny import QUERIES, TEXTS, bi_encoder, checkpoint
from tests.fakes import write_collection


def collection(folder: Path, *, answers: bool = False) -> str:
    texts = {docno: text or "the" for docno, text in TEXTS.items()}
    qrels = [("q1", "d1", 1), ("q2", "d5", 1), ("q1", "d2", 0)]
    place = write_collection(folder / "made-up", QUERIES.items(), texts.items(), qrels)
    if answers:
        rows = [{"id": "q1", "answers": ["River Bank"]}, {"id": "q2", "answers": ["nobody"]}]
        (place / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(place)


def command(folder: Path, name: str) -> list[str]:
    models = ["--model", checkpoint(), "--bi-encoder", bi_encoder(), "--static", f"1={checkpoint()}"]
    return [name, *models, "--without-minilm", "--dtype", "float32", "--depths", "1", "3", "--output", str(folder)]


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("the River-Bank floods", "river - bank", True),
        ("a riverbank", "river", False),
        ("Café Müller, 1989", "CAFÉ MÜLLER", True),
        ("bank river", "river bank", False),
        ("anything", "", False),
    ],
)
def test_an_answer_is_its_tokens_in_a_row(text: str, answer: str, found: bool) -> None:
    assert holds(tokens(text), [tokens(answer)]) == found


def test_recall_counts_queries_with_an_answer_among_the_first() -> None:
    run = pd.DataFrame([("1", f"d{n}", -float(n)) for n in range(30)], columns=["qid", "docno", "score"])
    texts = {f"d{n}": "yes" if n in (7, 25) else "no" for n in range(30)}
    found = recall(run, {"1": ["yes"], "2": ["yes"]}, texts)
    assert found.loc["1"].tolist() == [0, 1, 1]
    assert found.loc["2"].tolist() == [0, 0, 0]


def test_answers_come_from_the_collection(tmp_path: Path) -> None:
    assert answers_of(open_collection(collection(tmp_path / "a", answers=True)))["q1"] == ["River Bank"]
    assert answers_of(open_collection(collection(tmp_path / "b"))) == {}


@pytest.mark.parametrize("answers", [False, True])
def test_the_table_has_every_system_and_a_second_call_does_nothing_again(
    tmp_path: Path, answers: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = collection(tmp_path, answers=answers)
    assert main(command(tmp_path / "out", name)) == 0
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    cut = Path(bi_encoder()).name
    assert results["system"].tolist() == ["BM25", "elastic 1", "elastic 3", f"{cut} cut 1", f"{cut} 3", "static 1"]
    assert ("R@5" in results) == answers and ("nDCG@10" in results) != answers
    rows = results.set_index("system")
    assert rows.loc["elastic 3", "share"] == 1
    assert 1 / 3 < rows.loc["elastic 1", "share"] < 0.5  # a layer of three, and a projection
    assert rows.loc["elastic 1", "mflops"] == rows.loc["static 1", "mflops"] > rows.loc[f"{cut} cut 1", "mflops"]
    if answers:
        assert rows["R@5"].tolist() == [0.5] * 6  # five documents: all are found, one query has an answer
    assert (tmp_path / "out" / "dense.png").stat().st_size > 1000
    shown = capsys.readouterr().out

    def raising(*_: Any, **__: Any) -> None:
        raise AssertionError("a text was encoded")

    monkeypatch.setattr(ElasticDenser, "encode_with", raising)
    monkeypatch.setattr(ElasticDenser, "encode_docs", raising)
    assert main(command(tmp_path / "out", name)) == 0
    assert capsys.readouterr().out == shown


def test_another_experiment_under_the_same_output_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = collection(tmp_path)
    quick = [
        name,
        "--model",
        checkpoint(),
        "--bi-encoder",
        "none",
        "--without-minilm",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*quick, "--depths", "3"]) == 0
    assert main([*quick, "--depths", "2", "3"]) == 2
    assert "belongs to another job (systems:" in capsys.readouterr().err
    assert main([*quick, "--depths", "7"]) == 2
    assert "depths [7]:" in capsys.readouterr().err


def test_smaller_vectors_are_searched_in_an_index_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICRANKER_CACHE", str(tmp_path / "cache"))
    model = checkpoint(DenseReading(dims=(8,)))
    arguments = ["--model", model, "--bi-encoder", "none", "--without-minilm", "--dtype", "float32", "--depths", "3"]
    name = collection(tmp_path)
    assert main([name, *arguments, "--dims", "8", "--output", str(tmp_path / "out")]) == 0
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert results["system"].tolist() == ["BM25", "elastic 3", "elastic in 8 3"]
    sizes = sorted(place.stat().st_size for place in (tmp_path / "cache").glob("dense/*/vecs.f4"))
    assert sizes == [len(TEXTS) * 8 * 4, len(TEXTS) * 32 * 4]
    assert main([name, *arguments, "--dims", "7", "--output", str(tmp_path / "other")]) == 2


def test_a_static_query_encoder_searches_the_documents_that_it_was_taught_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = collection(tmp_path)
    assert main(command(tmp_path / "out", name)) == 0
    static = ElasticDenser(checkpoint(), dtype="float32").encode_with(SubNet(1), list(QUERIES.values())[:2]).vectors
    taught = ElasticDenser(bi_encoder(), dtype="float32").encode_docs(list(TEXTS.values()))
    best = [list(TEXTS)[row] for row in (static @ taught.T).argmax(1)]
    run = read_run(tmp_path / "out" / "runs" / "static-1.trec.gz")
    assert run[run["rank"] == 0]["docno"].tolist() == best
    without = [name, "--static", f"1={checkpoint()}", "--bi-encoder", "none", "--output", str(tmp_path / "other")]
    assert main(without) == 2
    assert "--static needs --bi-encoder" in capsys.readouterr().err
