"""`python -m elasticranker` is `elasticranker`."""

import sys

from elasticranker.cli import main

if __name__ == "__main__":
    sys.exit(main())
