"""The ladder of plans, found on score tables instead of by running the model."""
