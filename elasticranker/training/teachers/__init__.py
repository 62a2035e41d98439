"""What scores the training data: bi-encoders, cross-encoders, or a file of scores."""
