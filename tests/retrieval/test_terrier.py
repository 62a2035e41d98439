"""Terrier for real, in a process of its own: once a JVM runs it stays until the process ends."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import json, sys
import pandas as pd
import pyterrier as pt
from elasticranker.collections import cache_dir, open_collection
from elasticranker import retrieval

pt.java.mavenresolver.offline()
folder, broken = sys.argv[1:]
said = {}
try:
    retrieval.bm25(open_collection(broken), engine="terrier")
except ValueError as error:
    said["broken"] = str(error)
bm25 = retrieval.bm25(open_collection(folder), engine="terrier", k=2)
pipeline = bm25 >> open_collection(folder).text_loader()
said["fox"] = pipeline.search("fox")[["docno", "rank", "text"]].values.tolist()
nothing = ["", "the", "\\0", "\\ud800", "日本語", "()+-^:\\"'"]
odd = [*nothing, "#combine(fox)", "fox^2 AND -dog", "fox:fox", "{fox}~2", "fox " * 999]
def asked(query):  # pandas' own text columns, where pyarrow is installed, do not hold lone surrogates
    return pd.DataFrame({"qid": ["1"], "query": [query]}, dtype=object)
said["odd"] = {repr(query)[:20]: len(bm25(asked(query))) for query in odd}
said["long"] = bm25.search("long")["docno"].tolist()
said["again"] = retrieval.bm25(open_collection(folder), engine="terrier", k=2) == bm25
said["indexes"] = len([path for path in (cache_dir() / "indexes").iterdir() if path.is_dir()])
print(json.dumps(said))
"""


def run(script: str, *arguments: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def said(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script above found out."""
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("no Java")
    if not (shared / "terrier").is_dir():
        pytest.skip(f"no Terrier: {shared / 'terrier'} is not there")
    root = tmp_path_factory.mktemp("terrier")
    for name in ("whole", "broken"):
        (root / name).mkdir()
    long_docno = "d" * 250
    (root / "whole" / "corpus.tsv").write_text(f"d1\ta quick fox\nd2\tfox, fox\nd3\t\nd4\tdog\n{long_docno}\tlong\n")
    (root / "broken" / "corpus.tsv").write_text("d1\tfox\nd2\tdog\nno tab\n")
    environment = {"ELASTICRANKER_CACHE": str(root / "cache"), "PYTERRIER_HOME": str(shared / "terrier")}
    outcome = run(SCRIPT, root / "whole", root / "broken", **environment)
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout.splitlines()[-1])  # above it is what Terrier logs


def test_terrier_finds_ranks_and_composes(said):
    assert said["fox"] == [["d2", 0, "fox, fox"], ["d1", 1, "a quick fox"]]


def test_no_query_is_taken_for_query_language(said):
    found = list(said["odd"].values())
    assert found[:6] == [0] * 6
    assert found[6:] == [2] * 5


def test_long_docnos_survive(said):
    assert said["long"] == ["d" * 250]


def test_an_index_is_built_once_and_never_from_half_a_corpus(said):
    assert "line 3: expected docno <tab> text" in said["broken"]
    assert said["again"] is True
    assert said["indexes"] == 1


def test_without_java_the_error_names_the_remedy(tmp_path):
    (tmp_path / "corpus.tsv").write_text("d1\tfox\n")
    script = """
import sys; from elasticranker import retrieval
from elasticranker.collections import open_collection
import pyterrier as pt
pt.java.mavenresolver.offline()
retrieval.bm25(open_collection(sys.argv[1]), engine="terrier")
"""
    outcome = run(script, tmp_path, JAVA_HOME=str(tmp_path), PATH="", PYTERRIER_HOME=str(tmp_path))
    assert "RuntimeError: Terrier did not start" in outcome.stderr
    assert "engine='pisa' needs neither" in outcome.stderr
