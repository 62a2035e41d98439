"""Files and folders that are whole or absent, and JSON that others can read."""

import json
import math

import pytest

from elasticranker.evaluation.journal import Journal
from elasticranker.files import new_folder, renewed_folder, write_json
from elasticranker.training.trainer.run_folder import RunFolder


def test_a_new_folder_appears_when_it_is_done(tmp_path):
    with new_folder(tmp_path / "deep" / "made") as folder:
        (folder / "file").write_text("whole")
        assert folder.name == "made"
        assert not (tmp_path / "deep" / "made").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["made"]
    assert (tmp_path / "deep" / "made" / "file").read_text() == "whole"


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), new_folder(tmp_path / "made") as folder:
        (folder / "file").write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_there_and_a_full_one_may_not(tmp_path):
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as folder:
        (folder / "file").touch()
    with pytest.raises(FileExistsError, match="empty is there already"), new_folder(tmp_path / "empty"):
        pass


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_word_for_is_not_written(tmp_path, number):
    for write in (
        lambda: write_json(tmp_path / "value.json", {"score": number}),
        lambda: Journal(tmp_path / "journal.jsonl").append({"score": number}),
        lambda: RunFolder(tmp_path).log(score=number),
    ):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write()


def test_a_log_is_read_by_any_reader_of_json(tmp_path):
    RunFolder(tmp_path).log(score=0.5)
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"score": 0.5}


def test_a_renewed_folder_takes_the_place_of_the_old_one_whole_or_not_at_all(tmp_path):
    place = tmp_path / "product"
    for content in ("first", "second"):
        with renewed_folder(place) as folder:
            assert folder.name == place.name
            (folder / content).write_text(content)
    assert [path.name for path in place.iterdir()] == ["second"]
    with pytest.raises(RuntimeError), renewed_folder(place) as folder:
        (folder / "half").write_text("half")
        raise RuntimeError
    assert [path.name for path in place.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["product"]
