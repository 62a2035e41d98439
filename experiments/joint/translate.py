"""Joint inference on translation: two T5s from scratch, and routing between them by the energies of what they write.

Everything is kept in the output folder step by step - vocabulary, checkpoints, both models, every sentence's answers -
so that a killed study goes on where it was with the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.manifest import PACKAGES, claim_machine, today, versions
from elasticranker.files import atomic_write, locked, read_json, refuse_other_job, writable_folder, write_json
from elasticranker.model.huggingface import quiet
from elasticranker.model.loaded import choose_device, choose_dtype, dtype_name
from elasticranker.routing.energies import get_energy
from experiments.joint import report
from experiments.joint.flops import t5_flops
from experiments.joint.measuring import measure
from experiments.joint.parallel import TEST, TRAIN, VALIDATION, Corpus, Pairs
from experiments.joint.table import Answers, Sample, joint_table
from experiments.joint.training import SUPER, SWIFT, Size, Training, make_tokenizer, train_t5

ENERGIES = ("free", "released", "max-softmax", "entropy")
SHARES = (0.1, 0.25, 0.5, 0.75)
REMEDY = "delete {}, or choose another --output"


@dataclass(frozen=True)
class Study:
    """What is trained and how it is measured.

    Attributes:
        swift: size of the light model.
        super: size of the accurate model.
        swift_training: how Swift is trained.
        super_training: how Super is trained.
        vocabulary: tokens of the one vocabulary of both languages.
        max_new_tokens: of an answer, greedily.
        sentences: so many of validation and test; None for all.
    """

    swift: Size = SWIFT
    super: Size = SUPER
    swift_training: Training = field(default_factory=lambda: Training(epochs=8))
    super_training: Training = field(default_factory=lambda: Training(epochs=6))
    vocabulary: int = 8000
    max_new_tokens: int = 60
    sentences: int | None = None


def run_translate(
    corpus: Corpus,
    *,
    output: str | Path,
    study: Study | None = None,
    shares: Sequence[float] = SHARES,
    tolerance: float = 0.2,
    energies: Sequence[str] = ENERGIES,
    note: str = "",
    progress: bool = True,
) -> pd.DataFrame:
    """Train what isn't trained yet, measure what isn't measured yet, and evaluate every routing.

    Thresholds are set on the validation sentences and reported on the test sentences.

    Args:
        corpus: The sentence pairs.
        output: Folder for vocabulary, models and results.
        study: What is trained and how it is measured.
        shares: Shares of the validation sentences that Super gets.
        tolerance: How far the validation sentences' mean chrF may stay below Super's, in points: one more target.
        energies: Names of `elasticranker.routing.energies.ENERGIES`.
        note: A sentence for the report.
        progress: Whether to show bars on standard error.

    Returns:
        The table of results.csv: see `experiments.joint.table.joint_table`.

    Raises:
        ValueError: An argument makes no sense, files are missing, or the folder holds another study or was measured on
            another machine.
        ImportError: sacrebleu isn't installed.
        OSError: `output` cannot be written, or another process is writing it.
    """
    _check(shares, tolerance, energies)
    study = study or Study()
    splits = {split: _head(corpus.read(split), study.sentences) for split in (VALIDATION, TEST)}
    files = corpus.fingerprints()
    job = {"languages": f"{corpus.source}-{corpus.target}", "files": files, "energies": list(energies), **asdict(study)}
    del job["sentences"]  # more of them may be measured later
    folder = writable_folder(output)
    with locked(folder / "lock", busy=f"another process is writing {folder}; wait for it, or choose another --output"):
        manifest = _opened_manifest(folder, job, note)
        models = _trained(folder, corpus, study, progress)
        entries = _measured(folder, models, splits, energies, study, progress)
        samples = {split: _sample(entries, split, pairs, energies) for split, pairs in splits.items()}
        results = joint_table(samples[VALIDATION], samples[TEST], shares=shares, tolerance=tolerance)
        with atomic_write(folder / "results.csv") as file:
            file.write(results.to_csv(index=False).encode())
        manifest |= {"measured on": read_json(folder / "machine.json"), "sentences": len(splits[TEST])}
        manifest |= {"models": {name: read_json(folder / name / "training.json") for name in ("swift", "super")}}
        write_json(folder / "manifest.json", manifest)
        report.draw(results, folder / "joint.png", title=f"{job['languages']}, {len(splits[TEST])} sentences")
        report.write_report(folder / "report.md", results, manifest)
    return results


def with_settings(study: Study, *, dtype: str, device: str | None, **training: Any) -> Study:
    """A study whose models are trained in another way.

    Args:
        study: The study.
        dtype: auto, float32 or bfloat16; `auto` is bfloat16 where the processor multiplies in it natively.
        device: A torch device; None for the best there is.
        training: Fields of `Training`; those that are None stay as they are.
    """
    place = choose_device(device)
    chosen = dtype_name(choose_dtype(dtype, place))
    given = {name: value for name, value in training.items() if value is not None}
    given |= {"dtype": chosen, "device": place.type}
    return replace(
        study,
        swift_training=replace(study.swift_training, **given),
        super_training=replace(study.super_training, **given),
    )


def scores(answers: list[str], references: list[str]) -> dict[str, float]:
    """Corpus BLEU and chrF, as sacrebleu computes them."""
    import sacrebleu

    bleu = sacrebleu.corpus_bleu(answers, [references], force=True)
    return {"BLEU": float(bleu.score), "chrF": float(sacrebleu.corpus_chrf(answers, [references]).score)}


def _check(shares: Sequence[float], tolerance: float, energies: Sequence[str]) -> None:
    for name in energies:
        get_energy(name)
    if not energies or not shares or not all(0 < share < 1 for share in shares) or not tolerance >= 0:
        raise ValueError(
            f"energies={list(energies)}, shares={list(shares)}, tolerance={tolerance}: give one or more of the first "
            "two, shares between 0 and 1, and a tolerance of 0 or more points"
        )
    try:
        import sacrebleu  # noqa: F401
    except ImportError as error:
        raise ImportError('translations are scored by sacrebleu: pip install -e ".[joint]"') from error


def _head(pairs: Pairs, sentences: int | None) -> Pairs:
    return Pairs(pairs.sources[:sentences], pairs.targets[:sentences])


def _opened_manifest(folder: Path, job: Mapping[str, Any], note: str) -> dict[str, Any]:
    """The folder's manifest, made or found to be of the same job."""
    path = folder / "manifest.json"
    if path.exists():
        refuse_other_job(read_json(path)["job"], job, place=folder, remedy=REMEDY.format(folder))
    manifest = {"job": dict(job), "note": note, "date": today(), "versions": versions((*PACKAGES, "sacrebleu"))}
    write_json(path, manifest)
    return manifest


def _trained(folder: Path, corpus: Corpus, study: Study, progress: bool) -> dict[str, Any]:
    """Both models, trained where they aren't yet, and their tokenizer."""
    from transformers import T5ForConditionalGeneration

    pairs = corpus.read(TRAIN)
    tokenizer = make_tokenizer(folder / "tokenizer", [*pairs.sources, *pairs.targets], study.vocabulary)
    loaded: dict[str, Any] = {"tokenizer": tokenizer}
    parts = {"swift": (study.swift, study.swift_training), "super": (study.super, study.super_training)}
    for name, (size, training) in parts.items():
        train_t5(folder / name, size, training, pairs, tokenizer, progress=progress)
        with quiet():
            model: Any = T5ForConditionalGeneration.from_pretrained(folder / name)
        loaded[name] = model.to(training.device)
    return loaded


def _measured(
    folder: Path,
    models: Mapping[str, Any],
    splits: Mapping[str, Pairs],
    energies: Sequence[str],
    study: Study,
    progress: bool,
) -> list[dict[str, Any]]:
    """Every sentence's entry in the journal; one journal is measured on one machine."""
    from elasticranker.routing import generator

    claim_machine(folder / "machine.json", folder / "journal.jsonl")
    tokenizer = models["tokenizer"]
    t5s = {name: models[name] for name in ("swift", "super")}
    boxes = {name: generator(t5, tokenizer, max_new_tokens=study.max_new_tokens) for name, t5 in t5s.items()}
    flops = {name: _counted(t5.config, tokenizer) for name, t5 in t5s.items()}
    texts = {split: pairs.sources for split, pairs in splits.items()}
    journal = Journal(folder / "journal.jsonl")
    measure(boxes, texts, energies, flops, journal, progress=progress)
    return list(journal)


def _counted(config: Any, tokenizer: Any) -> Callable[[str, int], int]:
    return lambda text, steps: t5_flops(config, read=len(tokenizer(text)["input_ids"]), written=steps)


def _sample(entries: Iterable[dict[str, Any]], split: str, pairs: Pairs, energies: Sequence[str]) -> Sample:
    wanted = (entry for entry in entries if entry["split"] == split and entry["place"] < len(pairs))
    ours = sorted(wanted, key=lambda entry: entry["place"])
    return Sample(
        _answers(ours, "swift", pairs.targets),
        _answers(ours, "super", pairs.targets),
        {name: np.array([entry["energies"][name] for entry in ours]) for name in energies},
        _scored_against(pairs.targets),
    )


def _scored_against(references: list[str]) -> Callable[[list[Any]], dict[str, float]]:
    return lambda answers: scores(answers, references)


def _answers(entries: list[dict[str, Any]], name: str, references: list[str]) -> Answers:
    import sacrebleu

    said = [entry["models"][name] for entry in entries]
    answers = [one["answer"] for one in said]
    chrf = [sacrebleu.sentence_chrf(answer, [wanted]).score for answer, wanted in zip(answers, references, strict=True)]
    return Answers(
        answers,
        np.array(chrf),
        np.array([one["flops"] / 1e9 for one in said]),
        np.array([one["ms"] for one in said]),
    )
