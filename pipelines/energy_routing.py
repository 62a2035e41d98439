"""Cheap reranking for the queries that it suffices for, accurate reranking for the others (E-LANG).

The energy of the cheap ranker's scores says which queries go to the accurate one. Its threshold is calibrated on the
collection's own queries so that a given share of them does.
"""

import argparse

from elasticranker import ElasticRanker, EnergyRouter
from elasticranker.collections import open_collection
from elasticranker.retrieval import bm25

EXAMPLES = """examples:
  python pipelines/energy_routing.py "how do I copy a whole folder"
  python pipelines/energy_routing.py "how do I copy a whole folder" --swift 10% --super 50% --share 0.2
"""

parser = argparse.ArgumentParser(
    description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("query", nargs="?", default="how do I copy a whole folder")
parser.add_argument("--collection", default="python-docs", help="irds:<id>, a folder, or python-docs (the default)")
parser.add_argument("--model", default="default", help="shipped checkpoint, folder or Hugging Face id")
parser.add_argument("--swift", default="5%", metavar="BUDGET", help="of the cheap ranker (default: 5%%)")
parser.add_argument("--super", default="full", metavar="BUDGET", help="of the accurate ranker (default: full)")
parser.add_argument("--share", type=float, default=0.3, help="of the queries that go to it (default: 0.3)")
parser.add_argument("--queries", type=int, default=20, metavar="N", help="to calibrate on (default: 20)")
args = parser.parse_args()

docs = open_collection(args.collection)
candidates = bm25(docs, k=50) >> docs.text_loader()
swift = ElasticRanker(args.model, budget=args.swift)
router = EnergyRouter(swift, swift.with_budget(args.super), super_share=args.share)
router.calibrate(candidates(docs.queries().head(args.queries)))

print((candidates >> router).search(args.query)[["docno", "score"]].head(10).to_string(index=False))
