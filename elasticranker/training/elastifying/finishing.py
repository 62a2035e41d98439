"""Tuning and calibrating a trained checkpoint on the queries that were kept from training, and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elasticranker.collections import open_collection
from elasticranker.files import new_folder, read_json
from elasticranker.model.card import model_card
from elasticranker.model.checkpoint import (
    CARD,
    add_provenance,
    copy_checkpoint,
    load,
    query_key,
    set_calibration,
    set_ladder,
)
from elasticranker.progress import bar
from elasticranker.ranker import ElasticRanker
from elasticranker.runs import read_run
from elasticranker.runs.inputs import with_queries, with_texts
from elasticranker.training.elastifying.candidates import ABOUT, RUN
from elasticranker.training.elastifying.moving import moved
from elasticranker.training.elastifying.settings import ElastifySettings
from elasticranker.training.tuning.search import SHARES, tune
from elasticranker.training.tuning.storing import fit_calibration
from elasticranker.training.tuning.strangers import strangers
from elasticranker.training.tuning.tables import tabulate

CUTS = (48,)  # tokens of a document that plans may read alone, as `elasticranker tune` has it
STRANGERS = 5  # candidates of other queries beside each query's own, to calibrate


def tune_copy(trained: Path, data: Path, folder: Path, model: str, settings: ElastifySettings) -> None:
    """Write a copy of a checkpoint with a ladder, a calibration, and how far its full model is from `model`.

    Args:
        trained: the checkpoint.
        data: folder of the tuning queries (`elasticranker.training.elastifying.candidates`).
        folder: the copy.
        model: the cross-encoder that was made elastic.
        settings: number format and number of plans.
    """
    collection, about = open_collection(data), read_json(data / ABOUT)
    frame, qrels = with_texts(with_queries(read_run(data / RUN), collection), collection), collection.qrels()
    ranker = ElasticRanker(str(trained), budget="full", dtype=settings.dtype)
    tables = tabulate(ranker, frame, qrels, cuts=CUTS)
    others = strangers(frame, qrels[qrels["label"] >= about["level"]], STRANGERS)
    fitted = fit_calibration(tables, tabulate(ranker, others, qrels), level=about["level"])
    with bar(name="trying plans", total=len(SHARES), unit="budgets") as moving:
        ladder = tune(
            tables, ranker.checkpoint.cost, shares=SHARES, trials=settings.trials, progress=lambda _: moving.update()
        )
    name = (
        f"{about['collection']} ({about['made']} of them made of documents)" if about["made"] else about["collection"]
    )
    seen: dict[str, Any] = {"collection": name, "queries": sorted({query_key(text) for text in frame["query"]})}
    original = ElasticRanker(model, budget="full", dtype=settings.dtype)
    elastified = {
        "original": ranker.checkpoint.provenance["backbone"],
        "keep_full": settings.keep_full,
        "moved": moved(tables, tabulate(original, frame, qrels)),
    }
    with new_folder(folder) as copy:
        copy_checkpoint(trained, copy)
        set_ladder(copy, ladder, seen)
        set_calibration(copy, fitted.calibration, seen | fitted.about)
        add_provenance(copy, elastified=elastified)
        (copy / CARD).write_text(model_card(load(copy), name=folder.name), encoding="utf-8")
