"""Queries made from documents that nobody asked about, for a teacher alone to judge.

A document's neighbours are what a reranker finds hardest, and a made query costs no label: two kinds, as people type
keywords (`keyword_queries`, one a document) and as they ask for an explanation (`question_queries`, where a document
explains something).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from elasticranker.training.data.sources import TrainingQuery

EXPLANATION = re.compile(
    r"(?:^|[.!?]\s+)(?:the |an? )?((?:[a-z][a-z0-9'-]+ ){0,3}[a-z][a-z0-9'-]+) (is|are|was|were|means|refers to) ",
    re.IGNORECASE,
)
POINTERS = re.compile(  # words that make a subject which only its own document understands, or none
    r"\b(it|this|that|these|those|there|they|he|she|we|you|i|which|what|who|if|when|where|how|why|one|some|all|most|many|"
    r"each|both|such|another|others?|first|second|his|her|its|my|your|their|our|and|but|so|or|also|not|then|than|more|"
    r"only|here|as|because|while|following|answer|to|of|for|in|on|with|at|by|from)\b"
)
FORMS = {
    "is": ("what is {}", "what is {}", "{} definition", "define {}", "what does {} mean"),
    "are": ("what are {}", "what are {}", "{} definition", "types of {}"),
    "was": ("what was {}", "who was {}", "when was {}"),
    "were": ("what were {}", "who were {}", "when were {}"),
}


def keyword_queries(documents: Sequence[str], random: np.random.Generator) -> list[TrainingQuery]:
    """One query a document: three to six of its rarer words, in their order, as people type keywords."""
    words = [re.findall(r"[a-z][a-z0-9'-]+", document.lower()) for document in documents]
    frequency = Counter(word for document in words for word in set(document))
    made = []
    for number, document in enumerate(words):
        window_start = int(random.integers(0, max(1, len(document) - 25)))
        window = list(dict.fromkeys(document[window_start : window_start + 25]))
        known = [word for word in window if frequency[word] > 1 and len(word) > 2] or window
        rarest = set(sorted(known, key=lambda word: frequency[word])[: int(random.integers(3, 7))])
        if rarest:
            text = " ".join(word for word in window if word in rarest)
            made.append(TrainingQuery(text, [number], [], judged=False))
    return made


def question_queries(documents: Sequence[str], random: np.random.Generator) -> list[TrainingQuery]:
    """One query a document with a sentence "<something> is ...": a question about one such something."""
    made = []
    for number, document in enumerate(documents):
        explained = [
            (match[1].lower(), match[2].lower())
            for match in EXPLANATION.finditer(document)
            if not POINTERS.search(match[1].lower())
        ]
        if explained:
            subject, verb = explained[int(random.integers(len(explained)))]
            forms = FORMS.get(verb, FORMS["is"])
            text = forms[int(random.integers(len(forms)))].format(subject)
            made.append(TrainingQuery(text, [number], [], judged=False))
    return made


KINDS: dict[str, Callable[[Sequence[str], np.random.Generator], list[TrainingQuery]]] = {
    "keywords": keyword_queries,
    "questions": question_queries,
}
