"""The harness: measurements of ElasticRanker that others can repeat."""
