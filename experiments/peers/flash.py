"""FlashRank's runtime on our exported graph.

Its `Ranker` loads a folder of a known name with a graph and a tokenizer, and downloads nothing where the folder is
there: ours is laid out under its default model's name. It scores one query at a time, all its passages in one batch.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np

from elasticranker.planning.plan import Floats
from experiments.peers.graphs import ONLY_PROCESSOR, onnx_session
from experiments.peers.setup import Pairs, Scorer, Setup, Unavailable, graph_folder, linked


def open_flashrank(setup: Setup, dtype: str = "float32") -> Scorer:
    """FlashRank's `Ranker.rerank` over the exported graph; scores are its sigmoids.

    Raises:
        ImportError: a package is missing.
        Unavailable: it can't read this checkpoint's graph or tokenizer, or the bench runs elsewhere than on the
            processor.
    """
    import flashrank
    from flashrank.Config import default_model, model_file_map

    if not setup.on_processor:
        raise Unavailable(ONLY_PROCESSOR)
    if setup.split:
        raise Unavailable("FlashRank knows graphs of pairs alone, and this checkpoint's is one of single texts")
    exported, folder = graph_folder(setup), Path(setup.exports) / "flashrank" / default_model
    if json.loads((exported / "config.json").read_text(encoding="utf-8")).get("pad_token_id") is None:
        raise Unavailable("FlashRank reads pad_token_id from config.json, and this checkpoint's names none")
    if not folder.exists():
        folder.mkdir(parents=True)
        linked(exported / "model.onnx", folder / model_file_map[default_model])
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            linked(exported / name, folder / name)
    with contextlib.redirect_stderr(io.StringIO()):
        ranker = flashrank.Ranker(default_model, str(folder.parent), max_length=setup.max_length, log_level="ERROR")
    ranker.session = onnx_session(setup, dtype)  # its own session takes no number of threads

    def score(pairs: Pairs, batch: int) -> Floats:
        scores = np.empty(len(pairs))
        rows_of: dict[str, list[int]] = {}
        for row, (query, _) in enumerate(pairs):
            rows_of.setdefault(query, []).append(row)
        for query, rows in rows_of.items():
            passages = [{"id": row, "text": pairs[row][1]} for row in rows]
            for passage in ranker.rerank(flashrank.RerankRequest(query, passages)):
                scores[passage["id"]] = passage["score"]
        return scores

    return score
