"""Reading GLUE's files, and its measures against scikit-learn and scipy."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from experiments.glue.tasks import TASKS, measures, named, read_task, score


def test_measures_are_those_of_scikit_learn_and_scipy():
    random = np.random.default_rng(0)
    labels, predictions = random.integers(2, size=(2, 50))
    found = measures(TASKS["MRPC"], predictions, labels)
    assert found == {"F1": metrics.f1_score(labels, predictions), "accuracy": (labels == predictions).mean()}
    assert score(found) == sum(found.values()) / 2
    assert measures(TASKS["CoLA"], predictions, labels) == {"Matthews": metrics.matthews_corrcoef(labels, predictions)}
    numbers, wanted = random.normal(size=(2, 50))
    assert measures(TASKS["STS-B"], numbers, wanted) == {
        "Pearson": stats.pearsonr(numbers, wanted)[0],
        "Spearman": stats.spearmanr(numbers, wanted)[0],
    }
    assert measures(TASKS["MNLI"], [0, 2, 1, 1], [0, 2, 2, 1]) == {"accuracy": 0.75}


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_a_model_that_always_says_the_same_has_no_correlation():
    assert measures(TASKS["STS-B"], [1.0, 1.0, 1.0], [0.0, 1.0, 2.0]) == {"Pearson": 0.0, "Spearman": 0.0}
    assert measures(TASKS["CoLA"], [1, 1, 1], [0, 1, 1]) == {"Matthews": 0.0}
    assert measures(TASKS["MRPC"], [0, 0], [1, 1]) == {"F1": 0.0, "accuracy": 0.0}


def test_texts_pairs_and_numbers_are_read(glue):
    texts, pairs, numbers = (read_task(glue, TASKS[name], "train") for name in ("SST-2", "RTE", "STS-B"))
    assert len(texts) == len(pairs) == len(numbers) == 24
    assert isinstance(texts.texts[0], str) and set(texts.labels) == {0.0, 1.0} and texts.classes == 2
    assert pairs.texts[0][1] in ("river", "money")
    assert numbers.classes == 1 and numbers.labels.max() == 3.0


def test_some_of_many_are_drawn_from_all_of_them_in_their_order(glue):
    task, whole = TASKS["SST-2"], read_task(glue, TASKS["SST-2"], "train")
    some, again, other = (read_task(glue, task, "train", 10, seed=seed) for seed in (0, 0, 1))
    places = [whole.texts.index(text) for text in some.texts]
    assert len(some) == 10 and places == sorted(places) and max(places) > 10
    assert some.digest() == again.digest() != other.digest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sentence\tlabel\nx\t0\n", r"columns \['sentence', 'label'\]: they must be label, sentence1"),
        ("label\tsentence1\n1\ta\tb\n", "line 2: 3 fields, but 2 columns"),
        ("label\tsentence1\ngood\ta\n", "line 2: the label 'good' is no number"),
        ("label\tsentence1\n7\ta\n", "label 7 is no class"),
    ],
)
def test_malformed_files_are_refused_by_line(tmp_path, content, message):
    (tmp_path / "CoLA").mkdir()
    (tmp_path / "CoLA" / "dev.tsv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_task(tmp_path, TASKS["CoLA"], "dev")


def test_tasks_and_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"--tasks WNLI: choose from CoLA, MRPC"):
        named(["CoLA", "WNLI"])
    with pytest.raises(ValueError, match=r"CoLA has no train.tsv and no train.tsv.gz"):
        read_task(tmp_path, TASKS["CoLA"], "train")
