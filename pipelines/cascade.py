"""A cheap look at many candidates, a good one at a few.

Choose it where the answer is a short list and each of its documents must have been scored with the second budget. One
ranker with one budget spreads it better, and keeps all candidates. The two rankers here share their weights.
"""

import argparse

from elasticranker import ElasticRanker
from elasticranker.collections import open_collection
from elasticranker.retrieval import bm25

EXAMPLES = """examples:
  python pipelines/cascade.py "how do I copy a whole folder"
  python pipelines/cascade.py "how do I copy a whole folder" --first "1 GFLOPs" --keep 10 --then full
"""

parser = argparse.ArgumentParser(
    description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("query", nargs="?", default="how do I copy a whole folder")
parser.add_argument("--collection", default="python-docs", help="irds:<id>, a folder, or python-docs (the default)")
parser.add_argument("--model", default="default", help="shipped checkpoint, folder or Hugging Face id")
parser.add_argument("--first", default="5%", metavar="BUDGET", help="for all candidates of a query (default: 5%%)")
parser.add_argument("--keep", type=int, default=20, metavar="K", help="candidates that go on (default: 20)")
parser.add_argument("--then", default="full", metavar="BUDGET", help="for those (default: full)")
args = parser.parse_args()

docs = open_collection(args.collection)
first = ElasticRanker(args.model, budget=args.first)
pipeline = bm25(docs, k=100) >> docs.text_loader() >> first % args.keep >> first.with_budget(args.then)

print(pipeline.search(args.query)[["docno", "score"]].to_string(index=False))
