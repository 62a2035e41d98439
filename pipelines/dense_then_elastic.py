"""Retrieval by vectors, texts, elastic reranking: both transformers in one pipeline.

Documents are encoded once, by the whole model, into an index that is kept in the cache folder (minutes on the first
call). On-line, encoding a query and reranking its candidates have a budget each. Needs the extra `dense`.
"""

import argparse

from elasticranker import ElasticDenser, ElasticRanker
from elasticranker.collections import open_collection
from elasticranker.runs.dense_index import dense_index

EXAMPLES = """examples:
  python pipelines/dense_then_elastic.py "how do I copy a whole folder"
  python pipelines/dense_then_elastic.py "how do I copy a whole folder" --encoder intfloat/e5-small-v2 --encode full
"""

parser = argparse.ArgumentParser(
    description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("query", nargs="?", default="how do I copy a whole folder")
parser.add_argument("--collection", default="python-docs", help="irds:<id>, a folder, or python-docs (the default)")
parser.add_argument("--model", default="default", help="of the ranker: shipped checkpoint, folder or Hugging Face id")
parser.add_argument("--encoder", default="default-dense", help="of the denser, likewise (default: %(default)s)")
parser.add_argument("--encode", default="50%", metavar="BUDGET", help="for encoding a query (default: 50%%)")
parser.add_argument("--budget", default="25%", help="for reranking a query's candidates (default: 25%%)")
args = parser.parse_args()

docs = open_collection(args.collection)
denser = ElasticDenser(args.encoder, budget=args.encode)
index = dense_index(docs, denser, verbose=True)
first = denser >> index.np_retriever(num_results=100, drop_query_vec=True)
ranker = ElasticRanker(args.model, budget=args.budget, first_stage="dense")  # whose plans trust the order of vectors
pipeline = first >> docs.text_loader() >> ranker

print(pipeline.search(args.query)[["docno", "score"]].head(10).to_string(index=False))
