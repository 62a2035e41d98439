"""A made-up task: which of two words stands in a text?"""

from __future__ import annotations

import numpy as np

from elasticranker.training.data.examples import Examples
from tests.backbones import WORDS

KINDS = ("texts", "pairs", "regression")


def made_examples(count: int = 48, kind: str = "texts", seed: int = 0) -> Examples:
    """Texts of some words and one of `river` (0) and `money` (1); or pairs, whose second text is the word alone.

    For a regression the label is how often the word `sun` comes.
    """
    random = np.random.default_rng(seed)
    others = [word for word in WORDS if word not in ("river", "money", "sun")]
    texts, labels = [], []
    for _ in range(count):
        words = [str(word) for word in random.choice(others, int(random.integers(2, 12)))]
        label = int(random.integers(2))
        if kind == "regression":
            label = int(random.integers(4))
            words += ["sun"] * label
        elif kind == "texts":
            words.append(("river", "money")[label])
        random.shuffle(words)
        text = " ".join(words)
        texts.append((text, ("river", "money")[label]) if kind == "pairs" else text)
        labels.append(label)
    return Examples(texts, np.array(labels, dtype=np.float32), 1 if kind == "regression" else 2)
