"""BM25, texts, elastic reranking: the whole of it in three steps.

The budget fixes what reranking one query may cost: a share of what the full model would ("25%"), an amount of
computation ("20 GFLOPs") or time ("50 ms").
"""

import argparse

from elasticranker import ElasticRanker
from elasticranker.collections import open_collection
from elasticranker.retrieval import bm25

EXAMPLES = """examples:
  python pipelines/bm25_then_elastic.py "how do I copy a whole folder"
  python pipelines/bm25_then_elastic.py "what is a deer tick" --collection irds:msmarco-passage/dev --budget "50 ms"
"""

parser = argparse.ArgumentParser(
    description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("query", nargs="?", default="how do I copy a whole folder")
parser.add_argument("--collection", default="python-docs", help="irds:<id>, a folder, or python-docs (the default)")
parser.add_argument("--model", default="default", help="shipped checkpoint, folder or Hugging Face id")
parser.add_argument("--budget", default="25%", help="what reranking a query may cost (default: 25%%)")
args = parser.parse_args()

docs = open_collection(args.collection)
pipeline = bm25(docs, k=100) >> docs.text_loader() >> ElasticRanker(args.model, budget=args.budget)

print(pipeline.search(args.query)[["docno", "score"]].head(10).to_string(index=False))
