"""A reranking server, and a pipeline that calls it.

Starts `elasticranker serve` on a free port of this machine, reranks BM25's candidates over HTTP and stops the server.
Needs the extra `serve`. The server's budgets follow its load; a pipeline elsewhere needs its address alone.
"""

import argparse
import subprocess
import sys

from elasticranker import RemoteRanker
from elasticranker.collections import open_collection
from elasticranker.retrieval import bm25

EXAMPLES = """examples:
  python pipelines/serve_and_call.py "how do I copy a whole folder"
  python pipelines/serve_and_call.py "how do I copy a whole folder" --slo "1 s"
"""

parser = argparse.ArgumentParser(
    description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("query", nargs="?", default="how do I copy a whole folder")
parser.add_argument("--collection", default="python-docs", help="irds:<id>, a folder, or python-docs (the default)")
parser.add_argument("--model", default="default", help="shipped checkpoint, folder or Hugging Face id")
parser.add_argument("--slo", default="2 s", metavar="TIME", help="latency objective of the server (default: 2 s)")
args = parser.parse_args()

docs = open_collection(args.collection)
candidates = bm25(docs, k=50) >> docs.text_loader()

command = ["-m", "elasticranker", "serve", "--model", args.model, "--port", "0", "--slo", args.slo]
with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as server:
    try:
        lines = iter(server.stderr.readline, "")  # it says where it listens once it has measured its speed
        url = next((line.split()[-1] for line in lines if line.startswith("serving on ")), None)
        if url is None:
            sys.exit('the server did not start: is the extra there? pip install -e ".[serve]"')
        pipeline = candidates >> RemoteRanker(url)
        print(pipeline.search(args.query)[["docno", "score"]].head(10).to_string(index=False))
    finally:
        server.terminate()
