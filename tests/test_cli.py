"""The command line: quick help, one line an error, and the commands from end to end with a fake ranker."""

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from elasticranker.cli import COMMANDS, main, message
from elasticranker.commands import arguments, demo, experiment, rerank
from elasticranker.runs import read_run
from tests.backbones import save_backbone
from tests.fakes import FakeRanker, write_collection
from tests.planning.test_cost import elastic

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    """A collection of two queries whose answer is the second of the two candidates in `bm25.trec`."""
    path = write_collection(
        tmp_path / "collection",
        queries=[("1", "first"), ("2", "second")],
        docs=[("d1", "the first"), ("d2", "the second")],
        qrels=[("1", "d1", 1), ("2", "d2", 1)],
    )
    (path / "bm25.trec").write_text("1 Q0 d2 1 2 t\n1 Q0 d1 2 1 t\n2 Q0 d1 1 2 t\n2 Q0 d2 2 1 t\n")
    return path


@pytest.fixture
def fake_ranker(monkeypatch):
    for command in (rerank, experiment, demo):
        monkeypatch.setattr(command, "make_ranker", lambda args, **settings: FakeRanker(args.model, **settings))


def test_help_answers_without_loading_anything_heavy():
    script = """
import sys
from elasticranker.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    assert stop.code == 0
print("loaded:", sorted({"torch", "transformers", "pyterrier", "pandas", "numpy", "matplotlib"} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "loaded: []" in answer
    assert all(f"\n    {command}" in answer for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    example = "python -m experiments.peers" if command == "bench" else f"\n  elasticranker {command}"
    assert example in capsys.readouterr().out


def test_the_module_is_the_command():
    answer = subprocess.run(
        [sys.executable, "-m", "elasticranker", "merge"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert "usage: elasticranker merge" in answer.stderr


@pytest.mark.usefixtures("fake_ranker")
def test_rerank_from_file_to_file(folder, tmp_path, capsys):
    output = tmp_path / "out.trec.gz"
    status = main(
        ["rerank", f"{folder}/bm25.trec", "--collection", str(folder), "--budget", "100%", "--output", str(output)]
    )
    assert status == 0
    run = read_run(output)
    assert list(run[run["rank"] == 0]["docno"]) == ["d1", "d2"]
    assert capsys.readouterr().out == f"wrote {output}\n"


@pytest.mark.usefixtures("fake_ranker")
def test_rerank_in_shards(folder, tmp_path, capsys):
    output = str(tmp_path / "out.trec")
    command = ["rerank", f"{folder}/bm25.trec", "--collection", str(folder), "--budget", "full", "--output", output]
    assert main([*command, "--shard", "2/2"]) == 0
    assert "when all are: elasticranker merge" in capsys.readouterr().out
    assert main(["merge", output]) == 2
    assert main([*command, "--shard", "1/2"]) == 0
    assert main(["merge", output]) == 0
    assert len(read_run(output)) == 4


@pytest.mark.usefixtures("fake_ranker")
def test_experiment_prints_its_table(folder, tmp_path, capsys):
    output = tmp_path / "results"
    command = ["experiment", str(folder), "--candidates", f"{folder}/bm25.trec", "--budgets", "100%", "50%"]
    assert main([*command, "--note", "two queries only", "--output", str(output)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:6] == ["system", "budget", "RR@10", "nDCG@10", "AP", "R@100"]
    assert table[2].split()[:2] == ["bm25", "0.5000"]
    assert table[3].split()[:3] == ["elastic", "100%", "1.0000"]
    assert len({len(line) for line in table[:5]}) == 1
    assert table[6] == "p, against elastic 100%"
    assert table[7].split() == ["system", "budget", "p", "RR@10", "p", "nDCG@10", "p", "AP", "p", "R@100"]
    assert "two queries only" in table
    assert (output / "results.csv").exists()


@pytest.mark.usefixtures("fake_ranker")
def test_an_experiment_grows_by_a_budget_a_model_and_measures(folder, tmp_path, capsys):
    command = ["experiment", str(folder), "--candidates", f"{folder}/bm25.trec", "--output", str(tmp_path / "results")]
    assert main([*command, "--budgets", "100%"]) == 0
    assert main([*command, "--budgets", "50%", "--baseline", "bm25"]) == 0
    capsys.readouterr()
    assert main([*command, "--budgets", "100%", "--model", "me/other-model", "--measures", "P@1", "--rel", "1"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:4] == ["system", "budget", "P@1", "GFLOPs"]
    assert [line.split()[0] for line in table[2:6]] == ["bm25", "elastic", "elastic", "other-model"]
    assert "p, against other-model 100%" in table
    assert main([*command, "--measures", "Fame@10"]) == 2
    assert "measure 'Fame@10'" in capsys.readouterr().err


def test_whatever_takes_long_says_its_name_on_standard_error(folder, tmp_path, capsys):
    """A run from nothing: an index, a store of texts, a model to load, queries to measure, a figure to draw."""
    shutil.copy(folder / "corpus.tsv", tmp_path / "corpus.tsv")  # of another path: nothing of it is in the cache
    model = save_backbone(tmp_path / "model")
    command = ["experiment", str(folder), "--corpus", str(tmp_path / "corpus.tsv"), "--model", model]
    assert main([*command, "--budgets", "100%", "50%", "--output", str(tmp_path / "results")]) == 0
    shown = capsys.readouterr().err
    names = ["loading libraries", "indexing collection", "searching", "storing texts", "warming up", "loading model"]
    names += ["measuring", "evaluating", "writing runs", "drawing"]
    places = [shown.find(f"{name}: ") for name in names]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.usefixtures("fake_ranker")
def test_the_demo(tmp_path, capsys):
    output = tmp_path / "demo"
    assert main(["demo", "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "50, not 100, to stay under five minutes" in shown
    rows = [line.split()[0] for line in shown.splitlines() if line.startswith(("bm25", "elastic "))]
    assert rows == 2 * ["bm25", *["elastic"] * 5]  # the results, and the p-values
    assert str(output / "tradeoff.png") in shown
    assert shown.count("  before 1 ") == shown.count("  after  1 ") == 3
    assert len(read_run(output / "runs" / "bm25.trec.gz")["qid"].unique()) == 100


@pytest.mark.usefixtures("fake_ranker")
def test_a_quicker_demo(tmp_path, capsys):
    assert main(["demo", "--queries", "2", "--output", str(tmp_path / "demo")]) == 0
    assert "for 2 questions" in capsys.readouterr().out
    assert len(read_run(tmp_path / "demo" / "runs" / "bm25.trec.gz")["qid"].unique()) == 2


def test_rerank_with_a_real_model(folder, tmp_path, capsys):
    model = save_backbone(tmp_path / "model")
    output = tmp_path / "out.trec"
    command = ["rerank", f"{folder}/bm25.trec", "--collection", str(folder), "--model", model, "--output", str(output)]
    assert main([*command, "--budget", "50%", "--dtype", "float32"]) == 0
    assert len(read_run(output)) == 4
    shown = capsys.readouterr().err
    assert [name for name in ("scoring", "loading model") if f"{name}: " not in shown] == []
    assert main([*command, "--budget", "50%", "--dtype", "bfloat16"]) == 2
    assert "dtype: 'float32' there, 'bfloat16' here" in capsys.readouterr().err


def test_info_about_a_plain_cross_encoder(tmp_path, capsys):
    assert main(["info", save_backbone(tmp_path / "model")]) == 0
    shown = capsys.readouterr().out
    assert "ordinary Hugging Face cross-encoder" in shown
    assert "3 layers, 32 wide, 4 heads, 48 neurons" in shown
    assert "after layers 3 (cls); 0 (interaction)" in shown
    assert "fingerprint" in shown
    assert "threads" in shown
    assert "in words, of 100 candidates of 128 tokens each" in shown
    assert "all candidates by the embeddings alone" in shown
    assert all(len(line) <= 120 for line in shown.splitlines() if not line.startswith("place"))


def test_a_card_is_printed_or_written_where_it_is_told(tmp_path, capsys):
    model = elastic(tmp_path / "source").save(tmp_path / "model", card="as it was")
    assert main(["card", str(model)]) == 0
    printed = capsys.readouterr().out
    assert "# model" in printed and "## Ladder" in printed
    assert main(["card", str(model), "--output", str(tmp_path / "card.md")]) == 0
    assert (tmp_path / "card.md").read_text() == printed
    assert (model / "README.md").read_text() == "as it was"


def test_info_about_nothing(capsys):
    assert main(["info", "./no-such-model"]) == 2
    assert "there is no such folder" in capsys.readouterr().err


@pytest.mark.usefixtures("fake_ranker")
@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"--budget": "fast"}, "fast"),
        ({"--collection": "nowhere"}, "nowhere"),
        ({"RUN": "missing.trec"}, "missing.trec"),
    ],
)
def test_an_error_is_one_line_and_no_traceback(folder, tmp_path, capsys, changed, complaint):
    given = {"RUN": f"{folder}/bm25.trec", "--collection": str(folder), "--budget": "full", **changed}
    status = main(
        [
            "rerank",
            given.pop("RUN"),
            "--output",
            f"{tmp_path}/out.trec",
            *(word for pair in given.items() for word in pair),
        ]
    )
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("elasticranker: error: ")
    assert error.count("\n") == 1
    assert complaint in error


@pytest.mark.usefixtures("fake_ranker")
def test_debug_shows_the_traceback(folder, tmp_path):
    command = ["rerank", "missing.trec", "--collection", str(folder), "--budget", "full", "--output", f"{tmp_path}/o"]
    with pytest.raises(FileNotFoundError):
        main(["--debug", *command])


def test_ctrl_c_says_how_to_go_on(folder, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(rerank, "make_ranker", interrupted)
    status = main(
        ["rerank", "run", "--collection", str(folder), "--budget", "full", "--output", f"{tmp_path}/out.trec"]
    )
    assert status == 130
    assert "interrupted; run the same command again to go on" in capsys.readouterr().err


def test_warnings_are_one_line_each(folder, tmp_path, capsys, monkeypatch):
    def warning(*_, **__):
        warnings.warn("watch out", stacklevel=2)
        return FakeRanker()

    monkeypatch.setattr(rerank, "make_ranker", warning)
    main(
        ["rerank", f"{folder}/bm25.trec", "--collection", str(folder), "--budget", "full", "--output", f"{tmp_path}/o"]
    )
    assert "elasticranker: warning: watch out\n" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error():
    script = "from elasticranker.cli import main; import sys; main(['--help'])"
    command = f'"{sys.executable}" -c "{script}" | head -1'
    answer = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("usage: elasticranker")
    assert answer.stderr == ""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("no query q1"), "no query q1"),
        (ValueError("first\nsecond"), "first second"),
        (FileNotFoundError(2, "No such file or directory", "x"), "No such file or directory: x"),
        (OSError("our own words"), "our own words"),
        (ValueError(), "ValueError"),
    ],
)
def test_messages(error, text):
    assert message(error) == text


@pytest.mark.parametrize(("text", "value"), [("1/1", (1, 1)), ("3/8", (3, 8))])
def test_a_shard(text, value):
    assert arguments.shard(text) == value


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/", "-1/2"])
def test_what_is_no_shard(text):
    with pytest.raises(arguments.argparse.ArgumentTypeError):
        arguments.shard(text)
