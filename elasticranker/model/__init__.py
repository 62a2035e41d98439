"""The model and what runs it: encoder, readouts, pairs, engine, speed, checkpoints, Hugging Face in and out."""
