from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from elasticranker.collections import build_once, cache_dir


def test_the_environment_says_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("ELASTICRANKER_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path


def test_the_default_cache_is_in_the_home_folder(monkeypatch):
    monkeypatch.delenv("ELASTICRANKER_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "elasticranker"


def test_what_is_there_is_not_built_again(tmp_path):
    def must_not_run(path: Path) -> None:
        raise AssertionError(path)

    built = build_once(tmp_path / "folder" / "thing", lambda path: path.write_text("once"))
    assert build_once(built, must_not_run).read_text() == "once"


def test_many_who_want_the_same_thing_build_it_once(tmp_path):
    builds = []

    def build(path: Path) -> None:
        builds.append(path)
        path.mkdir()
        (path / "part").write_text("done")

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: build_once(tmp_path / "index", build), range(8)))
    assert len(builds) == 1
    assert {(path / "part").read_text() for path in paths} == {"done"}


def test_a_build_that_fails_leaves_nothing_and_can_be_tried_again(tmp_path):
    def fails_half_way(path: Path) -> None:
        path.write_text("half")
        raise ValueError("broken corpus")

    with pytest.raises(ValueError, match="broken corpus"):
        build_once(tmp_path / "index", fails_half_way)
    assert not (tmp_path / "index").exists()
    build_once(tmp_path / "index", lambda path: path.write_text("whole"))
    assert (tmp_path / "index").read_text() == "whole"


def test_what_a_killed_build_left_is_cleaned_up(tmp_path):
    abandoned = tmp_path / "index.building-abc" / "index"
    abandoned.mkdir(parents=True)
    build_once(tmp_path / "index", lambda path: path.write_text("whole"))
    assert not abandoned.parent.exists()


def test_an_unwritable_cache_is_named_with_the_remedy(tmp_path):
    (tmp_path / "occupied").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"occupied.*set ELASTICRANKER_CACHE"):
        build_once(tmp_path / "occupied" / "index", lambda path: path.write_text("never"))
