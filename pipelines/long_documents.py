"""Documents longer than the model reads: their passages compete for one budget, the best one stands for its document.

Each document is cut into overlapping passages, which are reranked as candidates of their own. The budget is the
query's, whatever the number of its passages: what a plan looks at closely are the passages that looked best so far.
"""

import argparse

import pyterrier as pt

from elasticranker import ElasticRanker
from elasticranker.collections import open_collection
from elasticranker.retrieval import bm25

EXAMPLES = """examples:
  python pipelines/long_documents.py "how do I copy a whole folder"
  python pipelines/long_documents.py "how do I copy a whole folder" --length 100 --stride 50 --budget "20 GFLOPs"
"""

parser = argparse.ArgumentParser(
    description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("query", nargs="?", default="how do I copy a whole folder")
parser.add_argument("--collection", default="python-docs", help="irds:<id>, a folder, or python-docs (the default)")
parser.add_argument("--model", default="default", help="shipped checkpoint, folder or Hugging Face id")
parser.add_argument("--budget", default="25%", help="what reranking a query's passages may cost (default: 25%%)")
parser.add_argument("--length", type=int, default=150, metavar="N", help="words of a passage (default: 150)")
parser.add_argument("--stride", type=int, default=75, metavar="N", help="words from one to the next (default: 75)")
args = parser.parse_args()

docs = open_collection(args.collection)
passages = pt.text.sliding(text_attr="text", prepend_attr=None, length=args.length, stride=args.stride)
ranker = ElasticRanker(args.model, budget=args.budget)
pipeline = bm25(docs, k=100) >> docs.text_loader() >> passages >> ranker >> pt.text.max_passage()

print(pipeline.search(args.query)[["docno", "score"]].head(10).to_string(index=False))
