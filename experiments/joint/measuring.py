"""What Swift and Super answer, sentence by sentence, and what each answer costs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from elasticranker.evaluation.journal import Journal
from elasticranker.routing import Outputs, output_energy

WARM_UP = 3  # sentences answered untimed first

Box = Callable[[list[Any]], Outputs]


def measure(
    models: Mapping[str, Box],
    splits: Mapping[str, Sequence[Any]],
    energies: Sequence[str],
    flops: Mapping[str, Callable[[Any, int], int]],
    journal: Journal,
    *,
    progress: bool = True,
) -> None:
    """Answer every sentence that the journal lacks by both models, one sentence at a time, in turn.

    Args:
        models: "swift" and "super".
        splits: Sentences, or pairs of them, by the name of their split.
        energies: Names of energies; the first is computed within Swift's time, since routing would need it.
        flops: Of a model, given the text and how many steps the answer to it took (of a classifier's one step: how
            many classes there are).
        journal: Gets an entry a sentence: `{"split", "place", "sitting", "energies": {name: value}, "models": {name:
            {"answer", "ms", "flops"}}}`.
        progress: Whether to show a bar on standard error.
    """
    from tqdm import tqdm

    done = {(entry["split"], entry["place"]) for entry in journal}
    tasks = [(split, place, text) for split, texts in splits.items() for place, text in enumerate(texts)]
    pending = [task for task in tasks if task[:2] not in done]
    for _, _, text in pending[:WARM_UP]:
        for model in models.values():
            model([text])
    sitting = uuid.uuid4().hex[:8]
    bar = tqdm(pending, total=len(tasks), initial=len(tasks) - len(pending), unit=" sentences", disable=not progress)
    for split, place, text in bar:
        values: dict[str, float] = {}
        answers: dict[str, Any] = {}
        for name in sorted(models, reverse=bool(place % 2)):
            start = time.perf_counter()
            outputs = models[name]([text])
            if name == "swift":
                values[energies[0]] = output_energy(outputs.logits[0], energies[0])
            seconds = time.perf_counter() - start
            if name == "swift":
                values |= {energy: output_energy(outputs.logits[0], energy) for energy in energies[1:]}
            spent = flops[name](text, len(outputs.logits[0]))
            answers[name] = {"answer": outputs.predictions[0], "ms": 1000 * seconds, "flops": spent}
        journal.append({"split": split, "place": place, "sitting": sitting, "energies": values, "models": answers})
