"""The harness: effectiveness against cost, measured so that others can repeat it."""
