"""The translation study at a tiny scale: real T5s, a made-up language, and kills at every stage."""

import gzip
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

import elasticranker.model.flops  # noqa: F401  (the counter's formulas for fused kernels)
from elasticranker.files import read_json, write_json
from elasticranker.routing import generator
from experiments.joint import __main__ as command
from experiments.joint import measuring, report, training, translate
from experiments.joint.flops import t5_flops
from experiments.joint.parallel import Corpus, Pairs
from experiments.joint.training import Size, Training, make_tokenizer, train_t5
from experiments.joint.translate import Study, run_translate
from tests.routing.tiny import ENDS, TEXTS, t5

pytest.importorskip("sacrebleu", reason='translations are scored by sacrebleu: pip install -e ".[joint]"')

WORDS = {"river": "fluss", "bank": "bank", "deep": "tief", "cat": "katze", "dog": "hund", "red": "rot", "sun": "sonne"}
TINY = Training(epochs=2, batch_size=8, learning_rate=1e-2)
STUDY = Study(Size(1, 16, 2, 32), Size(2, 32, 2, 64), TINY, TINY, vocabulary=300, max_new_tokens=8)


def made_pairs(count, seed=0):
    draw = random.Random(seed)
    sentences = [[draw.choice(sorted(WORDS)) for _ in range(draw.randint(1, 6))] for _ in range(count)]
    return Pairs([" ".join(words) for words in sentences], [" ".join(WORDS[w] for w in words) for words in sentences])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for seed, (split, count) in enumerate({"train": 30, "val": 6, "test_2016_flickr": 5}.items()):
        pairs = made_pairs(count, seed)
        (folder / f"{split}.xx").write_text("\n".join(pairs.sources) + "\n")
        (folder / f"{split}.yy.gz").write_bytes(gzip.compress(("\n".join(pairs.targets) + "\n").encode()))
    return Corpus(folder, "xx", "yy")


@pytest.fixture(scope="module")
def done(corpus, tmp_path_factory):
    """A finished study: its folder and its table."""
    output = tmp_path_factory.mktemp("study") / "out"
    return output, run_translate(corpus, output=output, study=STUDY, shares=[0.5], progress=False)


def test_files_table_and_report(done):
    output, results = done
    written = {path.name for path in output.iterdir()}
    assert written == {
        *("tokenizer", "swift", "super", "journal.jsonl", "machine.json"),
        *("results.csv", "joint.png", "report.md", "manifest.json", "lock"),
    }
    energies = ["free", "released", "max-softmax", "entropy"]
    assert results["system"].tolist() == ["swift", "super", "random", *energies, "oracle", *energies]
    assert pd.read_csv(output / "results.csv")["BLEU"].tolist() == pytest.approx(results["BLEU"].tolist())
    swift, super = results.iloc[0], results.iloc[1]
    assert 0 < swift["gflops_mean"] < super["gflops_mean"]
    assert (output / "joint.png").read_bytes().startswith(b"\x89PNG")
    text = (output / "report.md").read_text()
    assert "Swift: a T5 of 1 + 1 layers, 16 wide" in text and "5 test sentences" in text
    assert "Small models, trained from scratch" in text


def test_every_routing_is_that_of_joint_inference_itself(done, corpus):
    """The table's arithmetic on stored answers against the class that users call, with the same threshold."""
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    from elasticranker.routing import JointInference

    output, results = done
    tokenizer = AutoTokenizer.from_pretrained(output / "tokenizer")
    swift, super = (
        generator(T5ForConditionalGeneration.from_pretrained(output / name), tokenizer, max_new_tokens=8)
        for name in ("swift", "super")
    )
    joint = JointInference(swift, super, energy="entropy", batch_size=1)
    joint.calibrate(corpus.read("val").sources, super_share=0.5)
    test = corpus.read("test_2016_flickr")
    outputs = joint(test.sources)
    row = results[(results["system"] == "entropy") & (results["share"] == 0.5)].iloc[0]
    assert outputs.to_super.mean() == row["super_share"]
    assert translate.scores(outputs.predictions, test.targets) == pytest.approx(
        {"BLEU": row["BLEU"], "chrF": row["chrF"]}
    )


def test_a_finished_study_trains_and_measures_nothing_again(done, corpus, tmp_path, monkeypatch):
    output, results = shutil.copytree(done[0], tmp_path / "copy"), done[1]

    def never(*args, **settings):
        raise AssertionError("this was done before")

    monkeypatch.setattr(training, "_new_t5", never)
    monkeypatch.setattr(measuring, "output_energy", never)
    again = run_translate(corpus, output=output, study=STUDY, shares=[0.5], tolerance=5.0, progress=False)
    assert again["BLEU"].iloc[:8].tolist() == results["BLEU"].iloc[:8].tolist()
    run_translate(corpus, output=output, study=replace(STUDY, sentences=3), shares=[0.5], progress=False)
    assert read_json(output / "manifest.json")["sentences"] == 3


def test_another_study_and_another_machine_are_refused(done, corpus):
    output, _ = done
    with pytest.raises(ValueError, match=r"belongs to another job .*vocabulary: 300 there, 400 here"):
        run_translate(corpus, output=output, study=replace(STUDY, vocabulary=400), progress=False)
    machine = read_json(output / "machine.json")
    write_json(output / "machine.json", machine | {"processor": "an abacus"})
    with pytest.raises(ValueError, match=r"processor: 'an abacus' there.*delete .*journal.jsonl"):
        run_translate(corpus, output=output, study=STUDY, progress=False)
    write_json(output / "machine.json", machine)


def test_nonsense_is_refused_before_any_work(corpus, tmp_path):
    for wrong in ({"shares": [1.5]}, {"tolerance": -1.0}, {"energies": []}, {"energies": ["heat"]}):
        with pytest.raises(ValueError, match=r"energies=|unknown energy 'heat'"):
            run_translate(corpus, output=tmp_path / "out", study=STUDY, **wrong)
    with pytest.raises(ValueError, match=r"no val.zz.gz and no val.zz"):
        run_translate(replace(corpus, target="zz"), output=tmp_path / "out", study=STUDY)
    assert not (tmp_path / "out").exists()


def test_a_measurement_that_was_killed_goes_on(done, corpus, tmp_path, monkeypatch):
    output, _ = done
    entries = (output / "journal.jsonl").read_text().splitlines()
    answered = []
    models = {name: lambda texts: answered.extend(texts) or fail() for name in ("swift", "super")}

    def fail():
        raise KeyboardInterrupt

    journal = measuring.Journal(tmp_path / "journal.jsonl")
    (tmp_path / "journal.jsonl").write_text("\n".join(entries[:4]) + "\n")
    with pytest.raises(KeyboardInterrupt):
        measuring.measure(models, {"val": corpus.read("val").sources}, ["free"], {}, journal, progress=False)
    assert answered == [corpus.read("val").sources[4]]


# Training.


def test_a_training_that_was_killed_ends_with_the_same_weights(tmp_path, monkeypatch):
    from transformers import Seq2SeqTrainer

    pairs, settings = made_pairs(30), replace(TINY, epochs=3)
    tokenizer = make_tokenizer(tmp_path / "tokenizer", [*pairs.sources, *pairs.targets], 300)
    train_t5(tmp_path / "whole", STUDY.swift, settings, pairs, tokenizer, progress=False)
    steps, step = [], Seq2SeqTrainer.training_step

    def mortal(self, *args, **arguments):
        steps.append(1)
        if len(steps) == 7:  # in the second of three epochs of four steps
            raise KeyboardInterrupt
        return step(self, *args, **arguments)

    monkeypatch.setattr(Seq2SeqTrainer, "training_step", mortal)
    with pytest.raises(KeyboardInterrupt):
        train_t5(tmp_path / "killed", STUDY.swift, settings, pairs, tokenizer, progress=False)
    assert not (tmp_path / "killed").exists()
    (tmp_path / "killed-unfinished" / "checkpoint-9").mkdir()  # what a kill while writing leaves
    train_t5(tmp_path / "killed", STUDY.swift, settings, pairs, tokenizer, progress=False)
    assert len(steps) == 7 + 8
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert not (tmp_path / "killed-unfinished").exists()


def test_a_t5_learns_what_it_is_shown(tmp_path):
    pairs = made_pairs(60)
    tokenizer = make_tokenizer(tmp_path / "tokenizer", [*pairs.sources, *pairs.targets], 300)
    settings = replace(TINY, epochs=6, dropout=0.0, dtype="bfloat16")
    train_t5(tmp_path / "t5", Size(1, 32, 2, 64), settings, pairs, tokenizer, progress=False)
    losses = [entry["loss"] for entry in read_json(tmp_path / "t5" / "training.json")["loss"]]
    assert losses[-1] < 4.0  # log 300 is 5.7
    assert next(iter(load_file(tmp_path / "t5" / "model.safetensors").values())).dtype == torch.float32


def test_one_vocabulary_reads_and_writes_everything(tmp_path):
    pairs = made_pairs(30)
    tokenizer = make_tokenizer(tmp_path / "tokenizer", [*pairs.sources, *pairs.targets], 300)
    assert len(tokenizer) == 300
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    read = tokenizer("Zwei Büsche, 3 €")["input_ids"]
    assert read[-1] == 1
    assert tokenizer.decode(read, skip_special_tokens=True) == "Zwei Büsche, 3 €"
    again = make_tokenizer(tmp_path / "tokenizer", ["other texts"], 400)
    assert again.get_vocab() == tokenizer.get_vocab()


def test_the_formula_counts_what_pytorch_counts():
    model, tokenizer = t5()
    write = generator(model, tokenizer, max_new_tokens=12, eos_token_id=ENDS)
    written = set()
    for text in TEXTS:
        with FlopCounterMode(display=False) as counter:
            steps = len(write([text]).logits[0])
        read = len(tokenizer(text)["input_ids"])
        assert t5_flops(model.config, read=read, written=steps) == counter.get_total_flops()
        written.add(steps)
    assert len(written) > 2


# Reading, and the command.


def test_pairs_are_read_plain_or_packed_without_blank_ones(tmp_path):
    (tmp_path / "val.en").write_text("one\n\nthree\n")
    (tmp_path / "val.de.gz").write_bytes(gzip.compress(b"eins\nzwei\ndrei\n"))
    assert Corpus(tmp_path, "en", "de").read("val") == Pairs(["one", "three"], ["eins", "drei"])
    (tmp_path / "val.fr").write_text("un\n")
    with pytest.raises(ValueError, match=r"val.en has 3 lines, .*val.fr 1"):
        Corpus(tmp_path, "en", "fr").read("val")


def test_the_command_prints_table_and_findings(done, corpus, monkeypatch, capsys):
    output, _ = done
    monkeypatch.setattr(translate, "Study", lambda: STUDY)
    arguments = ["translate", str(corpus.folder), "--source", "xx", "--target", "yy", "--output", str(output)]
    size = ["--vocabulary", "300", "--dtype", "float32", "--device", "cpu", "--epochs", "2", "--batch-size", "8"]
    assert command.main([*arguments, *size]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("system")
    assert "over random routing at equal mean GFLOPs" in printed
    assert f"{output}/joint.png" in printed


def test_the_command_turns_errors_into_one_line(tmp_path, capsys):
    assert command.main(["translate", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m experiments.joint: error: ") and error.count("\n") == 1


def test_findings_say_what_supers_quality_costs(done):
    _, results = done
    lines = report.findings(results)
    assert lines[0].startswith("Super alone: BLEU ")
    assert sum("set to stay within 0.2 chrF of Super" in line for line in lines) == 4
    assert Path(done[0], "report.md").read_text().count("\n- ") >= len(lines)
