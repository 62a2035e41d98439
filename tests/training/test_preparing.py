"""Preparing: which candidates, which labels, and nothing scored twice."""

import json
from pathlib import Path

import numpy as np
import pytest

from elasticranker.files import locked
from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.groups import Groups, digest, is_prepared, read_info
from elasticranker.training.data.sources import Source, TrainingQuery, read_sources
from elasticranker.training.preparing import PrepareSettings, prepare, prepare_folder
from tests.training.tiny import OverlapTeacher, make_groups, write_source

DOCUMENTS = ["red fox", "red dog", "blue cat", "blue moon", "green star"]


def source(*queries: TrainingQuery, name: str = "made-up") -> Source:
    return Source(name, list(DOCUMENTS), list(queries))


def candidates(groups: Groups, row: int) -> list[str]:
    return [groups.documents[number] for number in groups.candidates[row] if number >= 0]


def sizes(**changed) -> PrepareSettings:
    return PrepareSettings(**{"candidates": 4, "teacher_candidates": 0, "random_candidates": 0} | changed)


def test_a_query_gets_its_positive_then_bm25_then_what_the_teacher_finds():
    groups = prepare(
        [source(TrainingQuery("red fox", [4], [2, 3]))], OverlapTeacher(), sizes(candidates=5, teacher_candidates=2)
    )
    assert candidates(groups, 0) == ["green star", "blue cat", "blue moon", "red fox", "red dog"]
    assert groups.scores[0].tolist() == [0.0, 0.0, 0.0, 1.0, 0.5]
    assert groups.labels[0].tolist() == [1, 0, 0, 0, 0]


def test_unjudged_queries_have_no_labels_and_places_without_a_candidate_neither():
    groups = prepare(
        [source(TrainingQuery("red", [], [0, 2], judged=False), TrainingQuery("blue", [2], [0, 1]))],
        OverlapTeacher(),
        sizes(),
    )
    assert groups.labels.tolist() == [[-1, -1, -1, -1], [1, 0, 0, -1]]
    assert groups.candidates.tolist() == [[0, 2, -1, -1], [2, 0, 1, -1]]


def test_false_negatives_are_dropped_where_that_is_wished():
    queries = TrainingQuery("red fox", [1], [0, 2]), TrainingQuery("red fox", [], [0, 1], judged=False)
    kept = prepare([source(*queries)], OverlapTeacher(), sizes())
    dropped = prepare([source(*queries)], OverlapTeacher(), sizes(drop_false_negatives=True))
    assert candidates(kept, 0) == ["red dog", "red fox", "blue cat"]
    assert candidates(dropped, 0) == ["red dog", "blue cat"]  # the fox scores above the positive dog
    assert dropped.labels[0].tolist() == [1, 0, -1, -1]
    assert candidates(dropped, 1) == candidates(kept, 1)


def test_sources_are_joined_and_each_one_is_drawn_for_alone():
    first, second = source(TrainingQuery("red", [0], [1]), name="a"), source(TrainingQuery("blue", [2], [3]), name="b")
    settings = sizes(random_candidates=2)
    both = prepare([first, second], OverlapTeacher(), settings)
    alone = prepare([second], OverlapTeacher(), settings)
    assert both.sources == ["a", "b"]
    assert both.source.tolist() == [0, 1]
    assert candidates(both, 1) == candidates(alone, 0)
    assert len(both.documents) == 10


def test_a_document_that_explains_something_is_asked_about_it_in_a_source_of_its_own():
    asked = Source("made-up", ["A fox is a small wild dog.", "Red and quick."], [TrainingQuery("red", [1], [0])])
    groups = prepare([asked], OverlapTeacher(), sizes(pseudo=("made-up",), random_candidates=2))
    assert groups.sources == ["made-up", "made-up-keywords", "made-up-questions"]
    question = groups.queries[int(np.flatnonzero(groups.source == 2)[0])]
    assert "fox" in question.split()


def test_pseudo_queries_form_a_source_of_their_own_that_nobody_judged(tmp_path):
    groups = make_groups(tmp_path, pseudo=("made-up",))
    assert groups.sources == ["made-up", "made-up-keywords", "made-up-questions"]
    made = groups.source > 0
    assert (groups.source == 1).sum() == 60
    assert (groups.labels[made] == -1).all()
    assert not groups.held_out[made].any()
    assert groups.counts()["made-up-keywords"] == {"queries": 60, "judged": 0, "held out": 0}


def test_a_folder_comes_back_as_it_was_saved(tmp_path):
    groups = make_groups(tmp_path / "source")
    groups.save(tmp_path / "prepared", {"teacher": "overlap"})
    again = Groups.load(tmp_path / "prepared")
    assert (again.documents, again.queries, again.sources) == (groups.documents, groups.queries, groups.sources)
    for name in ("source", "candidates", "scores", "labels", "held_out"):
        assert np.array_equal(getattr(again, name), getattr(groups, name))
    assert read_info(tmp_path / "prepared") == {"teacher": "overlap"}
    before = digest(tmp_path / "prepared")
    groups.scores[0, 0] += 1
    groups.save(tmp_path / "prepared")
    assert digest(tmp_path / "prepared") != before


def test_a_folder_is_prepared_once_and_refuses_other_data(tmp_path):
    folder, teacher = write_source(tmp_path / "source"), OverlapTeacher()
    for _ in range(2):
        made = prepare_folder(str(folder), teacher, tmp_path / "prepared", negatives=None)
    assert teacher.read_sources == ["made-up"]
    info = read_info(made)
    assert info["sources"] == {"made-up": {"queries": 40, "judged": 40, "held out": 4}}
    assert info["temperature"] == round(Groups.load(made).spread() / 2, 4) > 0
    assert str(tmp_path) not in json.dumps(info)
    with pytest.raises(ValueError, match="candidates: 32 there, 8 here"):
        prepare_folder(str(folder), teacher, made, PrepareSettings(candidates=8), negatives=None)
    write_source(folder, documents=70)
    with pytest.raises(ValueError, match=r"belongs to another job .files"):
        prepare_folder(str(folder), teacher, made, negatives=None)


def test_two_processes_dont_prepare_one_folder(tmp_path):
    folder, prepared = write_source(tmp_path / "source"), tmp_path / "prepared"
    prepared.mkdir()
    with locked(prepared / ".lock", busy=""), pytest.raises(BlockingIOError, match="prepared by another process"):
        prepare_folder(str(folder), OverlapTeacher(), prepared, negatives=None)
    assert is_prepared(prepare_folder(str(folder), OverlapTeacher(), prepared, negatives=None))


def test_a_cache_computes_an_array_once_and_a_folder_has_none_in_the_end(tmp_path):
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        return np.arange(3.0)

    for _ in range(2):
        assert ArrayCache(tmp_path / "cache").get(["a", "b"], make).tolist() == [0.0, 1.0, 2.0]
    ArrayCache(tmp_path / "cache").get(["ab", ""], make)
    ArrayCache(None).get(["a", "b"], make)
    assert len(calls) == 3
    prepare_folder(str(write_source(tmp_path / "source")), OverlapTeacher(), tmp_path / "prepared")
    assert sorted(path.name for path in (tmp_path / "prepared").iterdir()) == [
        ".lock",
        "groups.npz",
        "prepared.json",
        "texts.json.gz",
    ]


def test_nothing_to_prepare_is_an_error_that_names_the_source(tmp_path):
    with pytest.raises(ValueError, match="the source made-up has no query with a positive or a candidate"):
        prepare([source(TrainingQuery("  ", [0], []))], OverlapTeacher(), sizes())
    with pytest.raises(ValueError, match="the teacher overlap scores fewer than two candidates"):
        prepare([source(TrainingQuery("red", [0], []))], OverlapTeacher(), sizes())
    with pytest.raises(ValueError, match=r"pseudo names \['x'\]: the data has made-up"):
        prepare([source(TrainingQuery("red", [0], [1]))], OverlapTeacher(), sizes(pseudo=("x",)))
    assert not is_prepared(tmp_path)


def test_passages_with_and_without_labels_are_read(tmp_path):
    rows = [
        {"query": "q one", "passages": ["a", "b", "a"], "is_selected": [0, 1, 0]},
        {"query": "q two", "passages": ["b", "c"], "is_selected": None, "qid": "77"},
    ]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (read,) = read_sources(tmp_path)
    assert read.documents == ["a", "b", "c"]
    assert read.queries == [
        TrainingQuery("q one", [1], [0], judged=True, qid="0"),
        TrainingQuery("q two", [], [1, 2], judged=False, qid="77"),
    ]


@pytest.mark.parametrize(
    ("name", "line", "error"),
    [
        ("a.queries.jsonl", '{"query": "x", "positive": [9], "bm25": []}', r"a\.queries\.jsonl:1: KeyError '9'"),
        ("a.queries.jsonl", "[]", r"a\.queries\.jsonl:1: TypeError"),
        ("a.docs.tsv", "no tab", r"a\.docs\.tsv:1: expected 'number <tab> text'"),
        ("b.jsonl", '{"query": "x", "passages": ["a"], "is_selected": [1, 0]}', r"b\.jsonl:1: ValueError"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, name, line, error):
    (tmp_path / "a.docs.tsv").write_text("0\ttext\n")
    (tmp_path / "a.queries.jsonl").write_text("")
    (tmp_path / name).write_text(line + "\n")
    with pytest.raises(ValueError, match=error):
        read_sources(tmp_path)
