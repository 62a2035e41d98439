"""Teachers: bi-encoders, cross-encoders and files, told apart by name, scored once."""

import json

import numpy as np
import pytest
import torch

from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.sources import Source, TrainingQuery, read_sources
from elasticranker.training.preparing import PrepareSettings, prepare
from elasticranker.training.teachers.bi_encoder import BiEncoderTeacher
from elasticranker.training.teachers.cross_encoder import CrossEncoderTeacher
from elasticranker.training.teachers.scores import ScoreTeacher, read_scores
from elasticranker.training.teachers.teacher import open_teacher
from tests.backbones import save_backbone
from tests.training.tiny import write_source

QUERIES = [TrainingQuery("red fox", [0], [1, 2], qid="q1"), TrainingQuery("blue moon", [3], [2], qid="q2")]
SOURCE = Source("made-up", ["red fox jumps", "red dog", "blue cat", "blue moon star"], QUERIES, ["a", "b", "c", "d"])
ASKED = np.array([[0, 1, -1], [3, 2, 0]])


def test_a_bi_encoder_scores_by_cosine_and_finds_its_nearest(tmp_path):
    teacher = open_teacher(save_backbone(tmp_path, labels=None), dtype="float32", device="cpu")
    assert isinstance(teacher, BiEncoderTeacher)
    assert (teacher.query_prefix, teacher.document_prefix) == ("", "")  # it isn't E5
    reading = teacher.read(SOURCE, QUERIES, ArrayCache(None))
    queries = teacher.queries([query.text for query in QUERIES]).astype(np.float32)
    cosines = queries @ teacher.documents(SOURCE.documents).astype(np.float32).T
    found = reading.scores(slice(0, 2), ASKED)
    np.testing.assert_allclose(found[0, :2], cosines[0, [0, 1]], atol=1e-6)
    np.testing.assert_allclose(found[1], cosines[1, [3, 2, 0]], atol=1e-6)
    nearest = reading.nearest(slice(1, 2), 2)
    assert set(nearest[0]) == set(np.argsort(-cosines[1])[:2])
    assert reading.nearest(slice(0, 2), 9).shape == (2, 4)
    assert reading.nearest(slice(0, 2), 0).shape == (2, 0)


def test_a_cross_encoder_scores_as_its_hugging_face_model_does(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    teacher = open_teacher(save_backbone(tmp_path), dtype="float32", device="cpu")
    assert isinstance(teacher, CrossEncoderTeacher)
    reading = teacher.read(SOURCE, QUERIES, ArrayCache(None))
    found = reading.scores(slice(0, 2), ASKED)
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    for row, column in [(0, 0), (0, 1), (1, 0), (1, 2)]:
        inputs = tokenizer(QUERIES[row].text, SOURCE.documents[ASKED[row, column]], return_tensors="pt")
        with torch.no_grad():
            assert found[row, column] == pytest.approx(float(model(**inputs).logits), abs=1e-4)
    assert np.isnan(found[0, 2])
    assert reading.nearest(slice(0, 2), 5).shape == (2, 0)


def test_models_do_not_score_again_what_is_in_the_cache(tmp_path, monkeypatch):
    cache = ArrayCache(tmp_path / "cache")
    for name, labels in (("bi", None), ("cross", 1)):
        folder = save_backbone(tmp_path / name, labels=labels)
        first = (
            open_teacher(folder, dtype="float32", device="cpu").read(SOURCE, QUERIES, cache).scores(slice(0, 2), ASKED)
        )
        again = open_teacher(folder, dtype="float32", device="cpu")
        monkeypatch.setattr(BiEncoderTeacher, "embed", None)
        monkeypatch.setattr("elasticranker.training.teachers.cross_encoder.ReadPairs._score", None)
        np.testing.assert_array_equal(again.read(SOURCE, QUERIES, cache).scores(slice(0, 2), ASKED), first)
        monkeypatch.undo()
        with pytest.raises(TypeError):  # another query is not there
            monkeypatch.setattr(BiEncoderTeacher, "embed", None)
            monkeypatch.setattr("elasticranker.training.teachers.cross_encoder.ReadPairs._score", None)
            other = [TrainingQuery("lazy dog", [0], [1]), QUERIES[1]]
            again.read(SOURCE, other, cache).scores(slice(0, 2), ASKED)
        monkeypatch.undo()


@pytest.mark.parametrize("line", ["{}\t{}\t{}", "{} Q0 {} 1 {} system"])
def test_a_file_of_scores_teaches_what_it_scores(tmp_path, line):
    scores = [("q1", "a", 2.5), ("q1", "b", -1.0), ("q2", "d", 0.5), ("q2", "c", 0.25)]
    (tmp_path / "scores.tsv").write_text("".join(line.format(*row) + "\n" for row in scores))
    teacher = open_teacher(str(tmp_path / "scores.tsv"))
    assert isinstance(teacher, ScoreTeacher)
    groups = prepare([SOURCE], teacher, PrepareSettings(candidates=6, random_candidates=0))
    assert groups.candidates[:, :3].tolist() == [[0, 1, -1], [3, 2, -1]]  # (q1, c) has no score
    assert groups.scores[:, :2].tolist() == [[2.5, -1.0], [0.5, 0.25]]
    with pytest.raises(ValueError, match="one file of scores, but the data has the sources made-up and other"):
        teacher.read(Source("other"), [], ArrayCache(None))


def test_a_folder_of_scores_has_a_file_for_each_source(tmp_path):
    read = read_sources(write_source(tmp_path / "data", "one"))[0]
    (tmp_path / "scores").mkdir()
    rows = [f"{q.qid}\t{n}\t{n / 8}" for q in read.queries for n in (*q.positives, *q.candidates)]
    (tmp_path / "scores" / "one.tsv").write_text("\n".join(rows))
    groups = prepare([read], open_teacher(str(tmp_path / "scores")), PrepareSettings(random_candidates=0))
    np.testing.assert_allclose(groups.scores[:, :3], groups.candidates[:, :3] / 8)
    with pytest.raises(ValueError, match=r"no scores for the source a/b: add a-b\.tsv"):
        ScoreTeacher(tmp_path / "scores").read(Source("a/b"), [], ArrayCache(None))


@pytest.mark.parametrize("line", ["q1 d1", "q1\td1\thigh", "q1\td1\tnan", "q Q0 d 1 2 3 4"])
def test_a_malformed_score_is_named(tmp_path, line):
    (tmp_path / "scores.tsv").write_text(f"q1\td0\t1\n{line}\n")
    with pytest.raises(ValueError, match=r"scores\.tsv:2: expected `qid docno score`"):
        read_scores(tmp_path / "scores.tsv")


def test_an_identity_changes_with_what_it_stands_for(tmp_path):
    folder = save_backbone(tmp_path / "model", labels=None)
    plain, prefixed = open_teacher(folder), open_teacher(folder, query_prefix="query: ")
    assert plain.identity != prefixed.identity
    assert plain.identity == open_teacher(folder).identity
    assert plain.name == "model"
    (tmp_path / "e5-tiny").mkdir()
    e5 = open_teacher(save_backbone(tmp_path / "e5-tiny", labels=None))
    assert (e5.query_prefix, e5.document_prefix) == ("query: ", "passage: ")
    assert json.dumps(plain.identity)
