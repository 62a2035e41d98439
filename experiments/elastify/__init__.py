"""Is elastify worth it on a cross-encoder that isn't ours? `train` makes one as a stranger would, `report` compares."""
