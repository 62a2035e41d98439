"""`index` and `retrieve`: killed anywhere, they end with the very bytes of an undisturbed run."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elasticranker import ElasticDenser
from elasticranker.cli import main
from elasticranker.collections import open_collection
from elasticranker.collections.folder import Folder
from elasticranker.denser.remembering import origin_of
from elasticranker.planning.dense import DenseReading
from elasticranker.runs.dense_index import build_index, dense_index
from elasticranker.runs.retrieving import retrieve_run
from elasticranker.runs.vector_shelf import VectorShelf
from elasticranker.trec import read_run
from tests.denser.tiny import QUERIES, TEXTS, checkpoint, other_checkpoint
from tests.fakes import write_collection

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("collection") / "made-up"
    texts = {docno: text or "the" for docno, text in TEXTS.items()}  # a corpus file has no empty texts
    return open_collection(str(write_collection(folder, QUERIES.items(), texts.items(), [("q1", "d1", 1)])))


def denser(**arguments: Any) -> ElasticDenser:
    return ElasticDenser(checkpoint(), dtype="float32", **arguments)


class Interrupted(Folder):
    """Reading its third document interrupts."""

    def corpus(self) -> Iterator[dict[str, str]]:
        for number, document in enumerate(super().corpus()):
            if number == 3:
                raise KeyboardInterrupt
            yield document


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_an_interrupted_index_goes_on_where_it_was(
    tmp_path: Path, collection: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_index(collection, denser(), tmp_path / "whole.flex", documents_per_part=2, progress=False)
    with pytest.raises(KeyboardInterrupt):
        build_index(Interrupted(collection.path), denser(), tmp_path / "x.flex", documents_per_part=2, progress=False)
    assert not (tmp_path / "x.flex").exists()
    with open(tmp_path / "x.flex.parts" / "vectors.f4", "ab") as file:
        file.write(b"half of a vect")  # what a kill leaves of a part
    encoded: list[int] = []
    encode = ElasticDenser.encode_docs
    monkeypatch.setattr(
        ElasticDenser, "encode_docs", lambda self, texts: encoded.append(len(texts)) or encode(self, texts)
    )
    made = build_index(collection, denser(), tmp_path / "x.flex", documents_per_part=2, progress=False)
    assert encoded == [2, 1]
    assert content(made) == content(whole)
    assert not (tmp_path / "x.flex.parts").exists()
    build_index(collection, denser(), made, progress=False)
    assert encoded == [2, 1]


def test_a_killed_index_goes_on_where_it_was(tmp_path: Path, collection: Folder) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom elasticranker import ElasticDenser\n"
        "from elasticranker.collections.folder import Folder\nfrom elasticranker.runs.dense_index import build_index\n"
        "class Mortal(Folder):\n"
        "    def corpus(self):\n"
        "        for number, document in enumerate(super().corpus()):\n"
        "            if number == 4: os.kill(os.getpid(), 9)\n"
        "            yield document\n"
        "denser = ElasticDenser(sys.argv[1], dtype='float32')\n"
        "build_index(Mortal(Path(sys.argv[2])), denser, sys.argv[3], documents_per_part=2, progress=False)\n"
    )
    command = [sys.executable, "-c", code, checkpoint(), str(collection.path), str(tmp_path / "x.flex")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert VectorShelf(tmp_path / "x.flex.parts", 32).documents == 4
    made = build_index(collection, denser(), tmp_path / "x.flex", documents_per_part=2, progress=False)
    whole = build_index(collection, denser(), tmp_path / "whole.flex", documents_per_part=2, progress=False)
    assert content(made) == content(whole)


def test_other_jobs_are_refused_by_what_differs(tmp_path: Path, collection: Folder) -> None:
    build_index(collection, denser(), tmp_path / "x.flex", progress=False)
    with pytest.raises(ValueError, match="document depth: 3 there, 1 here"):
        build_index(collection, denser(doc_budget="50%"), tmp_path / "x.flex", progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="mine exists and was not written by this command"):
        build_index(collection, denser(), tmp_path / "mine", progress=False)


def test_an_index_in_the_cache_serves_all_budgets(collection: Folder) -> None:
    index = dense_index(collection, denser())
    assert dense_index(collection, denser(budget="25%")).index_path == index.index_path
    assert dense_index(collection, denser(doc_budget="50%")).index_path != index.index_path


def test_an_index_of_fewer_dimensions_is_cut_from_the_whole_one(
    collection: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, small = (ElasticDenser(checkpoint(DenseReading(dims=(8,))), dim=dim, dtype="float32") for dim in (None, 8))
    index = dense_index(collection, small)
    encoded = list(index.get_corpus_iter())
    shutil.rmtree(index.index_path)
    dense_index(collection, whole)
    monkeypatch.setattr(ElasticDenser, "encode_docs", None)  # nothing is encoded again
    cut = list(dense_index(collection, small).get_corpus_iter())
    assert [record["docno"] for record in cut] == [record["docno"] for record in encoded]
    for one, other in zip(cut, encoded, strict=True):
        np.testing.assert_allclose(one["doc_vec"], other["doc_vec"], atol=1e-6)


def test_an_interrupted_search_goes_on_where_it_was(
    tmp_path: Path, collection: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build_index(collection, denser(), tmp_path / "x.flex", progress=False)
    half: dict[str, Any] = {"k": 3, "queries_per_part": 1, "progress": False}
    whole = retrieve_run(collection, denser(budget="50%"), index, tmp_path / "whole.trec", **half)
    encoded: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(ElasticDenser, "encoded", stops_at("copy", encoded))
        retrieve_run(collection, denser(budget="50%"), index, tmp_path / "x.trec", **half)
    monkeypatch.setattr(ElasticDenser, "encoded", stops_at("", encoded))
    again = retrieve_run(collection, denser(budget="50%"), index, tmp_path / "x.trec", **half)
    assert encoded == list(QUERIES.values())
    assert again.read_bytes() == whole.read_bytes()
    with pytest.raises(ValueError, match="budget: '50%' there, '25%' here"):
        retrieve_run(collection, denser(budget="25%"), index, tmp_path / "x.trec", tag="ElasticDenser-50%", **half)


def stops_at(word: str, encoded: list[str]) -> Any:
    """`ElasticDenser.encoded` that notes its texts, and is interrupted at one with this word."""

    def encode(self: ElasticDenser, texts: list[str], **how: Any) -> Any:
        if word and word in texts[0]:
            raise KeyboardInterrupt
        encoded.extend(texts)
        return self._run(texts, documents=how["documents"])

    return encode


def test_the_commands_index_and_search(tmp_path: Path, collection: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    index, run = str(tmp_path / "x.flex"), str(tmp_path / "run.trec.gz")
    model = ["--model", checkpoint(), "--dtype", "float32"]
    assert main(["index", str(collection.path), "--output", index, *model]) == 0
    command = ["retrieve", str(collection.path), "--index", index, "--budget", "50%", "--output", run, "--k", "2"]
    assert main([*command, *model]) == 0
    assert f"wrote {run}" in capsys.readouterr().out
    assert read_run(run).groupby("qid").size().to_dict() == dict.fromkeys(QUERIES, 2)
    command[-3] = str(tmp_path / "other.trec")
    assert main([*command, "--model", other_checkpoint()]) == 2
    assert "was made by another checkpoint" in capsys.readouterr().err
    import pyterrier_dr

    assert origin_of(pyterrier_dr.FlexIndex(index)) == denser().origin


def test_an_index_that_is_not_there_is_named(tmp_path: Path, collection: Folder) -> None:
    with pytest.raises(ValueError, match="is no index of vectors: build one with `elasticranker index`"):
        retrieve_run(collection, denser(), tmp_path / "none.flex", tmp_path / "x.trec")
