"""The phases of elastifying, each with a product that is kept: a job that was killed goes on with the one it was in."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticranker.files import (
    locked,
    new_folder,
    read_json,
    refuse_existing,
    refuse_other_job,
    writable_folder,
    write_json,
)
from elasticranker.model.checkpoint import Checkpoint, fingerprint, is_elastic
from elasticranker.model.hub import MANIFEST
from elasticranker.training.data.groups import is_prepared, read_info
from elasticranker.training.elastifying.candidates import SOURCES, TRAIN, TUNING, choose, gather, open_documents
from elasticranker.training.elastifying.finishing import tune_copy
from elasticranker.training.elastifying.forecast import as_text, forecast, measure
from elasticranker.training.elastifying.settings import ElastifySettings
from elasticranker.training.elastifying.start import with_exits
from elasticranker.training.origin import place_name
from elasticranker.training.preparing import PrepareSettings, prepare_folder
from elasticranker.training.teachers.cross_encoder import CrossEncoderTeacher
from elasticranker.training.trainer.keep_stage import TRAINERS

if TYPE_CHECKING:
    from elasticranker.collections import Collection
    from elasticranker.training.settings import TrainingSettings

SAMPLE = 200  # documents that the forecast is measured on


def elastify(
    model: str | Path,
    collection: str | Path,
    output: str | Path,
    *,
    corpus: str | None = None,
    settings: ElastifySettings | None = None,
    save_every: float = 300.0,
    announce: Callable[[str], object] | None = None,
    **changed: Any,
) -> Path:
    """Make a cross-encoder elastic: exits after every layer, narrower widths, a ladder and a calibration.

    It teaches the model itself. May be killed at any moment: the same call goes on where it was, with what it keeps in
    `<output>.work`, a folder that may be deleted once `output` is there.

    Args:
        model: Hugging Face id or folder of a cross-encoder of a supported family.
        collection: documents, with or without queries and judgements: a folder, `irds:` and an ir_datasets id, or a
            folder of training data as `elasticranker prepare` takes it.
        output: folder of the elastic checkpoint.
        corpus: a folder's corpus that is elsewhere.
        settings: how; by default those of `ElastifySettings`.
        save_every: seconds between saved states of the training run.
        announce: called with what will be done and how long it takes here, before it begins.
        changed: fields of `ElastifySettings`, where `settings` aren't given.

    Returns:
        `output`.

    Raises:
        ValueError: the model can't be made elastic, the collection gives too little to train or tune on, or the work
            folder holds another job.
        FileExistsError: there is something else under the name of `output`.

    Example:
        >>> elastify("my-cross-encoder", "my-docs", "my-elastic", keep_full="exact")  # doctest: +SKIP
        >>> ElasticRanker("my-elastic", budget="25%")  # doctest: +SKIP
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("several processes can't elastify together: run it in one (WORLD_SIZE=1)")
    settings = settings or ElastifySettings(**changed)
    model, output = str(model), Path(output)
    work = output.with_name(f"{output.name}.work")
    start = with_exits(model, settings.widths)
    job = {"model": fingerprint(model), "collection": place_name(collection), **asdict(settings)}
    job["candidates"] = place_name(settings.candidates)
    with claimed(work, output, job) as finished:
        if finished:
            return output
        documents = open_documents(str(collection), corpus, work)
        if announce is not None:
            announce(told(start, documents, model, settings, work))
        if not (work / "candidates").exists():
            gather(documents, settings, work / "candidates", by_source=(work / SOURCES).exists())
        run = prepare(model, work, settings, start)
        if not (work / "start").exists():
            with new_folder(work / "start") as folder:
                start.save(folder)
        train(work, settings, run, save_every=save_every)
        tune_copy(work / "run" / "checkpoint", work / "candidates" / TUNING, output, model, settings)
    return output


@contextmanager
def claimed(work: Path, output: Path, job: dict[str, Any]) -> Iterator[bool]:
    """Hold a work folder for a job; gives whether its output is there already. A job that made nothing leaves nothing.

    Raises:
        ValueError: it holds another job.
        FileExistsError: there is an output that isn't of this job.
        BlockingIOError: another process is at work in it.
    """
    record = work / "job.json"
    if not record.exists():
        refuse_existing(output)
    writable_folder(work)
    with locked(work / ".lock", busy=f"{work} is being worked in by another process"):
        if record.exists():
            remedy = f"delete {work}, or name another output (--output)"
            refuse_other_job(read_json(record), as_read(job), place=work, remedy=remedy)
        else:
            write_json(record, job)
        try:
            yield output.exists() and is_elastic(output)
        except BaseException:
            if not any((work / name).exists() for name in (SOURCES, "candidates")):
                record.unlink()
            raise


def as_read(job: dict[str, Any]) -> dict[str, Any]:
    """A job as JSON gives it back: lists for tuples."""
    return dict(json.loads(json.dumps(job)))


def told(start: Checkpoint, documents: Collection, model: str, settings: ElastifySettings, work: Path) -> str:
    """What will be done, and how long it takes on this machine."""
    run = settings.run(max_length=start.longest)
    sample = [text for document in islice(documents.corpus(), SAMPLE) if (text := document["text"]).strip()]
    if not sample:
        raise ValueError(f"the first {SAMPLE} documents of the collection have no text: nothing to learn from")
    chosen = choose(documents, settings)
    products = {"candidates": work / "candidates", "training": work / "run" / "checkpoint" / MANIFEST}
    done = {name for name, product in products.items() if product.exists()}
    if is_prepared(work / "prepared"):
        done.add("scores")
    lines = forecast(
        measure(start, sample, run, settings),
        settings,
        run,
        queries=(len(chosen.train), chosen.made_train),
        tuning=(len(chosen.tuning), chosen.made_tuning),
        done=done,
    )
    shape = start.encoder.shape
    kept = {"close": "held close to what it is", "exact": "left exactly as it is"}[settings.keep_full]
    title = (
        f"elastify {place_name(model)} ({shape.layers} layers, {shape.hidden} wide), its full depth {kept}, pairs of "
        f"up to {run.max_length} tokens:"
    )
    return as_text(title, lines)


def prepare(model: str, work: Path, settings: ElastifySettings, start: Checkpoint) -> TrainingSettings:
    """Have the model score its training candidates, and settle the run: its temperature is half their usual spread."""
    run = settings.run(max_length=start.longest)
    prepared = work / "prepared"
    if not is_prepared(prepared):
        teacher = CrossEncoderTeacher(
            model, max_length=run.max_length, max_query_length=run.max_query_length, dtype=settings.dtype
        )
        sizes = PrepareSettings(candidates=settings.group_candidates, teacher_candidates=0)
        prepare_folder(str(work / "candidates" / TRAIN), teacher, prepared, sizes)
    return settings.run(max_length=start.longest, temperature=read_info(prepared)["temperature"])


def train(work: Path, settings: ElastifySettings, run: TrainingSettings, *, save_every: float) -> None:
    """Train, or go on with it. A signal that ended the run is sent again, now that its state is saved."""
    held_out = any(source["held out"] for source in read_info(work / "prepared")["sources"].values())
    trainer = TRAINERS[settings.keep_full](
        work / "start",
        work / "prepared",
        work / "run",
        run,
        resume=True,
        dtype=settings.dtype,
        keep="best" if held_out else "last",
        validate_every=max(1, min(250, run.steps // 4)),
        save_every=save_every,
    )
    trainer.train()
    if trainer.stopped is not None:
        signal.raise_signal(trainer.stopped)
