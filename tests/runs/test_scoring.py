"""Scorers and what they hand back; `here` is tested with the resumable runs."""

import pickle

import pytest

from elasticranker.runs import read_run
from elasticranker.runs.inputs import with_queries
from elasticranker.runs.scoring import Failed, Piece, Scorer, attempt, here
from tests.fakes import FakeRanker
from tests.runs.mortal import DEPTH, QUERIES, mortal_folder


@pytest.fixture
def folder(tmp_path):
    return mortal_folder(tmp_path / "collection")


@pytest.fixture
def pieces(folder):
    """One query each."""
    run = with_queries(read_run(folder.path / "bm25.trec"), folder)
    return [Piece(number, run.iloc[DEPTH * number : DEPTH * (number + 1)]) for number in range(QUERIES)]


def test_here_scores_piece_after_piece(folder, pieces):
    ranker = FakeRanker()
    scored = list(here(Scorer(ranker, folder, "tag", "float32"), pieces))
    assert [piece.number for piece in scored] == list(range(QUERIES))
    assert ranker.scored == [f"q{number}" for number in range(QUERIES)]
    assert all(piece.lines.count(" tag\n") == DEPTH for piece in scored)


def test_a_scorer_that_travelled_gives_the_same_lines(folder, pieces):
    scorer = Scorer(FakeRanker(), folder, "tag", "float32")
    assert pickle.loads(pickle.dumps(scorer))(pickle.loads(pickle.dumps(pieces[0]))) == scorer(pieces[0])


def test_truncated_pairs_are_counted_a_piece(folder, pieces):
    class Cutting(FakeRanker):
        def transform(self, inp):
            self.truncated += 2
            return super().transform(inp)

    assert [piece.truncated for piece in here(Scorer(Cutting(), folder, "tag", "float32"), pieces[:3])] == [2, 2, 2]


def test_a_machine_that_computes_in_another_dtype_is_refused(folder, pieces):
    with pytest.raises(ValueError, match=r"means float32 on this machine and bfloat16 where.*give --dtype"):
        Scorer(FakeRanker(), folder, "tag", "bfloat16")(pieces[0])


def test_an_error_is_handed_back_with_its_trace(folder, pieces):
    failed = attempt(Scorer(FakeRanker(fails_at="q0"), folder, "tag", "float32"), pieces[0])
    assert isinstance(failed, Failed)
    with pytest.raises(RuntimeError, match="fails at q0") as error:
        failed.reraise()
    assert "tests/fakes.py" in str(error.value.__cause__)


class Homesick(Exception):
    """An error that cannot be unpickled: it wants two arguments, and keeps one."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)


def test_an_error_that_cannot_travel_is_told(folder, pieces):
    class Failing(FakeRanker):
        def transform(self, inp):
            raise Homesick("far away", "alone")

    failed = attempt(Scorer(Failing(), folder, "tag", "float32"), pieces[0])
    with pytest.raises(RuntimeError, match="Homesick: far away"):
        pickle.loads(pickle.dumps(failed)).reraise()


def test_a_piece_is_named_by_its_queries(pieces):
    assert str(pieces[2]) == f"part 2 (queries q2 to q2, {DEPTH} candidates)"
