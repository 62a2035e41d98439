"""A model is named by its id on the hub as by a folder: pushed, fetched, pinned, off line; refused with the remedy.

`huggingface_hub` reads its settings when it is imported, so what needs a connection runs in a process of its own,
against a small hub on loopback.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from elasticranker import ElasticRanker
from elasticranker.cli import main
from elasticranker.model import hub
from elasticranker.model.checkpoint import fingerprint, is_elastic, tuned_on
from tests.backbones import save_backbone
from tests.model.fake_hub import TOKEN, FakeHub, Repository, fake_hub
from tests.planning.test_cost import TEXTS, elastic

ROOT = Path(__file__).parents[2]
FRAME = pd.DataFrame(
    {"qid": "1", "query": "how do i copy", "docno": [f"d{i}" for i in range(len(TEXTS))], "text": TEXTS}
)
HEAD = "import sys\nfrom elasticranker import ElasticRanker\nfrom tests.model.test_hub import scores\n"


def scores(model: str, **arguments: Any) -> list[float]:
    return (
        ElasticRanker(model, dtype="float32", budget="60%", **arguments)(FRAME).sort_values("docno")["score"].tolist()
    )


@pytest.fixture(scope="module")
def online() -> Iterator[FakeHub]:
    with fake_hub() as made:
        yield made


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return elastic(tmp_path_factory.mktemp("source")).save(tmp_path_factory.mktemp("elastic"), card="# card")


@pytest.fixture(autouse=True)
def cold_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and no memory of other tests' ids."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    hub._snapshot.cache_clear()
    return tmp_path / "hub"


def run(code: str, home: Path, url: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose hub is at `url` and whose cache is in `home`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_ENDPOINT": url, "HF_HOME": str(home), "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment | own | settings, timeout=300)


def printed(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def put_in_cache(cache: Path, name: str, files: Path, revision: str = "main", commit: str = "a" * 40) -> None:
    """Lay a folder's files out as huggingface_hub keeps a snapshot."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "snapshots" / commit).mkdir(parents=True)
    for path in files.iterdir():
        (place / "snapshots" / commit / path.name).symlink_to(path)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / revision).write_text(commit)


def test_it_is_pushed_and_fetched_by_its_id_and_read_off_line(online: FakeHub, saved: Path, tmp_path: Path) -> None:
    read = "import json\nprint(json.dumps([scores('me/elastic'), ElasticRanker('me/elastic').fingerprint]))\n"
    push = "ElasticRanker(sys.argv[1]).push_to_hub('me/elastic', private=True)\n"
    found = printed(run(HEAD + push + read, tmp_path / "home", online.url, str(saved), HF_TOKEN=TOKEN))
    assert found == [scores(str(saved)), fingerprint(saved)]
    assert online.repositories["me/elastic"].private
    needed = {path.name for path in saved.iterdir()} - {"README.md"}
    assert sorted(online.fetched) == sorted(needed)  # each of them once, and nothing else
    assert printed(run(HEAD + read, tmp_path / "home", "http://127.0.0.1:9")) == found
    refused = run("from elasticranker.model.hub import resolve\nresolve('me/elastic')", tmp_path / "other", online.url)
    assert "a private one): check the name; for a private one log in with `hf auth login`" in refused.stderr


def test_a_plain_cross_encoder_is_fetched_with_one_form_of_its_weights(online: FakeHub, tmp_path: Path) -> None:
    folder = save_backbone(tmp_path / "model", "roberta")
    files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    repository = online.repositories["me/plain"] = Repository()
    first = repository.commit(files | {"pytorch_model.bin": b"other", "onnx/model.onnx": b"", "README.md": b"# card"})
    other = save_backbone(tmp_path / "other", "electra")
    repository.commit({path.name: path.read_bytes() for path in Path(other).iterdir()})
    repository.refs["v1"] = first
    del files["model.safetensors"]
    pickled = io.BytesIO()
    torch.save(load_file(Path(folder) / "model.safetensors"), pickled)
    repository.refs["old"] = repository.put(files | {"pytorch_model.bin": pickled.getvalue()})
    online.fetched.clear()
    names = f"('v1', 'main', 'old', '{first}')"
    read = f"import json\nprint(json.dumps([scores('me/plain', revision=name) for name in {names}]))"
    expected = [scores(folder), scores(other), scores(folder), scores(folder)]
    assert printed(run(HEAD + read, tmp_path / "home", online.url)) == expected
    assert set(online.fetched) == {*files, "model.safetensors", "pytorch_model.bin"}
    assert online.fetched.count("pytorch_model.bin") == 1  # where there is nothing better
    ask = "from elasticranker.model.hub import resolve\nresolve('me/plain', 'v2')"
    missing = run(ask, tmp_path / "home", online.url)
    assert "revision='v2': 'me/plain' has no such branch, tag or commit" in missing.stderr


def test_what_is_in_the_cache_needs_no_connection(cold_cache: Path, saved: Path, tmp_path: Path) -> None:
    put_in_cache(cold_cache, "me/cached", saved)
    put_in_cache(cold_cache, "me/cached", Path(save_backbone(tmp_path / "other")), "v2", "b" * 40)
    ranker = ElasticRanker("me/cached", dtype="float32")
    assert is_elastic("me/cached") and not is_elastic("me/cached", "v2")
    assert ranker.fingerprint == fingerprint(saved) != ElasticRanker("me/cached", revision="v2").fingerprint
    assert tuned_on("me/cached") == tuned_on(saved)
    assert scores("me/cached") == scores(str(saved))
    assert (
        scores("me/cached", revision="v2") == scores(str(tmp_path / "other")) == scores("me/cached", revision="b" * 40)
    )
    again = ranker.save_pretrained(tmp_path / "again")
    assert scores(str(again)) == scores(str(saved))


def test_a_damaged_snapshot_is_refused_by_its_digests(cold_cache: Path, saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    put_in_cache(cold_cache, "me/damaged", copy)
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file that elastic\.json names"):
        scores("me/damaged")
    weights.unlink()
    with pytest.raises(ValueError, match=r"lacks model\.safetensors"):
        scores("me/damaged")


def test_a_cold_cache_off_line_is_refused_with_the_remedy() -> None:
    ranker = ElasticRanker("me/nowhere")  # nothing is asked for yet
    with pytest.raises(
        ValueError, match=r"model='me/nowhere': neither a folder here nor whole in the Hugging Face.*hf d"
    ):
        ranker(FRAME)
    with pytest.raises(ValueError, match="at revision 'v1'"):
        ElasticRanker("me/nowhere", revision="v1")(FRAME)
    assert ranker(FRAME[:0]).empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "a model"}, "no id of the hub reads so"),
        ({"model": "./nowhere"}, "there is no such folder"),
        ({"model": "owner/name/part"}, "there is no such folder"),
        ({"model": __file__}, "this is a file"),
        ({"model": "default", "revision": "v1"}, "revision='v1': 'default' is a folder"),
        ({"model": str(ROOT), "revision": "v1"}, "only a model of the hub has revisions"),
    ],
)
def test_a_name_that_cannot_be_a_models_is_refused_at_once(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElasticRanker(**arguments)


def test_rankers_of_two_revisions_are_two() -> None:
    first, second = ElasticRanker("me/model", revision="v1"), ElasticRanker("me/model", revision="v2")
    assert first != second and first == ElasticRanker("me/model", revision="v1")


def test_a_card_of_what_is_in_the_cache_is_written_elsewhere(
    cold_cache: Path, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in_cache(cold_cache, "me/cached", saved)
    before = {path: path.read_bytes() for path in cold_cache.rglob("*") if path.is_file()}
    assert main(["card", "me/cached", "--output", str(tmp_path / "card.md")]) == 0
    assert "ElasticRanker('me/cached', budget='25%')" in (tmp_path / "card.md").read_text()
    assert {path: path.read_bytes() for path in cold_cache.rglob("*") if path.is_file()} == before


def test_only_an_elastic_checkpoint_has_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", save_backbone(tmp_path / "plain")]) == 2
    assert "only an elastic checkpoint has a ladder and a card of ours" in capsys.readouterr().err


def test_the_command_line_pins_a_revision(cold_cache: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_in_cache(cold_cache, "me/pinned", saved, "v1")
    assert main(["info", "me/pinned", "--revision", "v1"]) == 0
    assert fingerprint(saved) in capsys.readouterr().out
    assert main(["info", "me/pinned"]) == 2
