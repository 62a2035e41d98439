"""What training reads: sources of queries and texts, prepared groups, and the batches that a step takes of them."""
