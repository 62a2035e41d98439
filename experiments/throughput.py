"""Throughput: pairs a second of this package's engine, sentence-transformers' CrossEncoder and reduced budgets.

    python -m experiments.throughput python-docs --queries 20

All systems score the same pairs in one process, round by round in rotating order after a warm-up; the table shows the
median round and ratios, which hold on noisy machines where absolute figures don't. The first three systems run the very
same weights: the checkpoint's body under an ordinary head, as a plain Hugging Face cross-encoder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from elasticranker.model.checkpoint import Checkpoint
    from elasticranker.ranker import ElasticRanker

PEER, SAME, AUTO, FULL = "sentence-transformers", "ours, float32", "ours, auto dtype", "elastic, full"


def plain_copy(checkpoint: Checkpoint, folder: Path) -> str:
    """A plain cross-encoder of a checkpoint's full depth with an untrained head: as fast as a trained one."""
    from elasticranker.export import export_hugging_face
    from elasticranker.model.checkpoint import Checkpoint
    from elasticranker.model.encoder import Encoder
    from elasticranker.model.readout import ClsReadout

    shape = checkpoint.encoder.shape
    encoder = Encoder(shape, {shape.layers: ClsReadout(shape.hidden, labels=1, pooler="tanh")})
    body = {name: value for name, value in checkpoint.encoder.state_dict().items() if not name.startswith("exits.")}
    encoder.load_state_dict(body, strict=False)
    plain = Checkpoint(encoder.eval(), checkpoint.tokenizer, checkpoint.config)
    return str(export_hugging_face(plain, folder, depth=shape.layers))


def measure(systems: dict[str, Callable[[], object]], pairs: int, rounds: int) -> pd.DataFrame:
    """Pairs a second of some systems: one untimed call each, then `rounds` timed ones in rotating order.

    Returns:
        Columns `system`, `pairs_per_second` (median), `least`, `most`.
    """
    names = list(systems)
    for name in names:
        systems[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.perf_counter()
            systems[name]()
            seconds[name].append(time.perf_counter() - started)
    speeds = {name: pairs / np.asarray(times) for name, times in seconds.items()}
    return pd.DataFrame(
        [(name, float(np.median(speed)), speed.min(), speed.max()) for name, speed in speeds.items()],
        columns=["system", "pairs_per_second", "least", "most"],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    from elasticranker.cli import message
    from elasticranker.collections import open_collection
    from elasticranker.commands.arguments import positive
    from elasticranker.ranker import ElasticRanker
    from experiments.candidates import load_candidates
    from experiments.manifest import machine, today

    parser = argparse.ArgumentParser(prog="python -m experiments.throughput", description=__doc__)
    parser.add_argument("collection", metavar="COLLECTION", help="irds:<id>, a folder, or python-docs")
    parser.add_argument("--corpus", metavar="FILE", help="corpus.tsv[.gz], where the folder has none")
    parser.add_argument("--candidates", default="bm25", metavar="bm25|RUN", help="what to rerank (default: bm25)")
    parser.add_argument("--queries", type=positive, default=20, help="queries of a frame (default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=3, help="timed rounds (default: %(default)s)")
    parser.add_argument("--budgets", nargs="+", default=["25%", "10%", "5%"], metavar="B")
    parser.add_argument("--model", default="default", help="an elastic checkpoint (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        collection = open_collection(args.collection, corpus=args.corpus)
        frame = load_candidates(collection, args.candidates, queries=args.queries).frame
        elastic = ElasticRanker(args.model)
        with tempfile.TemporaryDirectory() as folder:
            plain = plain_copy(elastic.checkpoint, Path(folder))
            systems = _systems(plain, elastic, args.budgets, frame)
            table = measure(systems, len(frame), args.rounds)
    except (ValueError, KeyError, OSError, ImportError) as error:
        print(f"experiments.throughput: error: {message(error)}", file=sys.stderr)
        return 2
    speed = dict(zip(table["system"], table["pairs_per_second"], strict=True))
    print(table.round(1).to_string(index=False))
    print()
    if PEER in speed:
        print(f"{SAME} / {PEER}: {speed[SAME] / speed[PEER]:.2f}")
        print(f"{AUTO} / {PEER}: {speed[AUTO] / speed[PEER]:.2f}")
    for budget in args.budgets:
        print(f"elastic, {budget} / {FULL}: {speed[f'elastic, {budget}'] / speed[FULL]:.2f}")
    here, place = machine(), Path(collection.name).name
    print(
        f"\n{frame['qid'].nunique()} queries, {len(frame)} pairs of {place}; median of {args.rounds} rounds; "
        f"{here['processor']}, {here['threads']} threads; checkpoint {elastic.fingerprint[:12]}; {today()[:10]}"
    )
    return 0


def _systems(
    plain: str, elastic: ElasticRanker, budgets: Sequence[str], frame: pd.DataFrame
) -> dict[str, Callable[[], object]]:
    from elasticranker.ranker import ElasticRanker

    same, auto = ElasticRanker(plain, dtype="float32"), ElasticRanker(plain)
    systems: dict[str, Callable[[], object]] = {}
    try:
        from sentence_transformers import CrossEncoder
    except ImportError:
        print("sentence-transformers is not installed: its rows are left out", file=sys.stderr)
    else:
        peer = CrossEncoder(plain, device="cpu")
        pairs = list(zip(frame["query"], frame["text"], strict=True))
        systems[PEER] = partial(peer.predict, pairs, show_progress_bar=False)
    systems |= {SAME: partial(same, frame), AUTO: partial(auto, frame), FULL: partial(elastic, frame)}
    for budget in budgets:
        systems[f"elastic, {budget}"] = partial(elastic.with_budget(budget), frame)
    return systems


if __name__ == "__main__":
    sys.exit(main())
