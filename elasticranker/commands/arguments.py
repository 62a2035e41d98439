"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elasticranker.collections import Collection
    from elasticranker.denser import ElasticDenser
    from elasticranker.evaluation.candidates import Candidates
    from elasticranker.ranker import ElasticRanker


def add_candidate_arguments(parser: argparse.ArgumentParser) -> None:
    """The collection and what of it is reranked; `read_candidates` reads them."""
    parser.add_argument("collection", metavar="COLLECTION", help="irds:<id>, a folder, or python-docs")
    parser.add_argument(
        "--corpus", metavar="FILE", help="corpus.tsv[.gz] (docno, tab, text), where the folder has none"
    )
    parser.add_argument(
        "--candidates",
        default="bm25",
        metavar="bm25|RUN",
        help="search by BM25 (default), a run file, or a run of the collection (scoreddocs)",
    )
    parser.add_argument(
        "--k", type=positive, metavar="K", help="candidates a query at most (default: 100 for bm25, all of a run)"
    )
    parser.add_argument(
        "--queries", type=positive, metavar="N", help="so many judged queries, evenly spaced (default: all)"
    )
    parser.add_argument(
        "--bm25",
        choices=["pisa", "terrier"],
        default="pisa",
        help="what searches by BM25 (default: %(default)s; terrier needs Java)",
    )
    parser.add_argument("--skip-missing", action="store_true", help="leave out candidates that the corpus lacks")


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """What every experiment takes: the level of relevance, a note and where the results go."""
    parser.add_argument(
        "--rel",
        type=positive,
        metavar="K",
        help="lowest relevant label (default: 1, or 2 where labels go to 3; must be given where all are above 0)",
    )
    parser.add_argument(
        "--note",
        default="",
        metavar="TEXT",
        help="a sentence for table and report, such as what a reduced corpus means",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")


def read_candidates(args: argparse.Namespace, ranker: ElasticRanker) -> tuple[Collection, Candidates]:
    """What the arguments of `add_candidate_arguments` name, without the queries that the ranker was tuned on.

    Settles `--rel` too: that it has to be given is an error now, not after minutes of searching.
    """
    from elasticranker.collections import open_collection
    from elasticranker.evaluation.candidates import load_candidates

    collection = open_collection(args.collection, corpus=args.corpus)
    if args.rel is None:
        args.rel = collection.relevance_level()
    candidates = load_candidates(
        collection,
        args.candidates,
        k=args.k,
        queries=args.queries,
        engine=args.bm25,
        skip_missing=args.skip_missing,
        tuned_on=ranker.tuned_on,
    )
    return collection, candidates


def add_model_arguments(parser: argparse.ArgumentParser, *, default: str = "default") -> None:
    """`--model` and what goes with it; `make_ranker` and `make_denser` read them."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", default=default, help="shipped checkpoint, folder or Hugging Face id (default: %(default)s)"
    )
    group.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a Hugging Face id (default: main)")
    group.add_argument("--max-length", type=positive, metavar="N", help="most tokens of a pair; the document is cut")
    group.add_argument("--batch-size", type=positive, metavar="N", help="tokens in a batch")
    group.add_argument("--device", help="torch device, such as cpu or cuda (default: the best there is)")
    group.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="that compute (default: OMP_NUM_THREADS, or all cores); give fewer beside other work",
    )
    group.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16 (default: %(default)s)")


def add_first_stage_argument(parser: argparse.ArgumentParser) -> None:
    """`--first-stage`, which `make_ranker` reads."""
    parser.add_argument(
        "--first-stage",
        default="bm25",
        metavar="NAME",
        help="what made the candidates, such as dense: whose ladder of the checkpoint is taken (default: %(default)s)",
    )


def make_ranker(args: argparse.Namespace, *, budget: str = "full", trace: bool = False) -> ElasticRanker:
    """The ranker that the arguments of `add_model_arguments` describe."""
    from elasticranker.progress import phase

    with phase("loading libraries"):
        import torch  # some seconds, here and not in the middle of something

        from elasticranker.ranker import ElasticRanker

    if args.threads is not None:
        torch.set_num_threads(args.threads)  # now, for what is noted of the machine before the model is loaded
    chosen = {name: getattr(args, name) for name in ("max_length", "batch_size", "device", "threads", "revision")}
    given = {name: value for name, value in chosen.items() if value is not None}
    if hasattr(args, "first_stage"):
        given["first_stage"] = args.first_stage
    return ElasticRanker(args.model, budget=budget, dtype=args.dtype, trace=trace, **given)


def make_denser(args: argparse.Namespace, *, budget: str = "full", doc_budget: str = "full") -> ElasticDenser:
    """The denser that the arguments of `add_model_arguments`, and `--dim`, describe."""
    from elasticranker.progress import phase

    with phase("loading libraries"):
        import torch

        from elasticranker.denser import ElasticDenser

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    chosen = {name: getattr(args, name) for name in ("max_length", "batch_size", "device", "threads", "revision")}
    given = {name: value for name, value in chosen.items() if value is not None}
    return ElasticDenser(args.model, budget=budget, doc_budget=doc_budget, dim=args.dim, dtype=args.dtype, **given)


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def shard(text: str) -> tuple[int, int]:
    """The argument "2/8" as (2, 8), for argparse."""
    number, slash, shards = text.partition("/")
    if not slash or not 1 <= positive(number) <= positive(shards):
        raise argparse.ArgumentTypeError(f"{text!r}: give i/N, such as 2/8, with i from 1 to N")
    return int(number), int(shards)
