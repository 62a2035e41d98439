"""Part C: other sizes, on made-up pairs: where does each system win, and does cost grow linearly with candidates?

Speed needs no real texts, so pairs are made of words that are one token each: every pair has exactly the length asked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.journal import Journal
from elasticranker.planning.plan import Floats
from experiments.peers.runtimes import SETTLE
from experiments.peers.systems import FULL, System, our_name

if TYPE_CHECKING:
    from tqdm import tqdm

    from elasticranker.model.pairs import PairEncoder

LENGTHS = (32, 64, 128, 256, 512)  # tokens of a pair
CANDIDATES = (1, 3, 10, 30, 100, 300, 1000)
FIXED_LENGTH, FIXED_CANDIDATES = 128, 50  # of the other sweep
QUERY_WORDS = 6
QUARTER = our_name("25%")
PEERS = ("sentence-transformers, float32", "sentence-transformers, bfloat16", "onnxruntime, float32")
LONG = 5.0  # seconds of a cell's first round over all systems, above which no other round follows
OVERHEAD = 10  # candidates below which a query's fixed costs, not its pairs, decide its milliseconds
COLUMNS = ("sweep", "tokens", "candidates", "system", "ms", "pairs_per_s", "gflops", "fastest")


def cells(max_length: int, lengths: Sequence[int], candidates: Sequence[int]) -> list[tuple]:
    """What is measured: (sweep, tokens, candidates), lengths as far as `max_length` allows."""
    fixed = min(FIXED_LENGTH, max_length)
    made: list[tuple] = [("length", tokens, FIXED_CANDIDATES) for tokens in lengths if tokens <= max_length]
    return [*made, *(("candidates", fixed, count) for count in candidates)]


def made_up(encoder: PairEncoder, tokens: int, candidates: int, *, seed: int = 0) -> pd.DataFrame:
    """One query with candidates whose pairs have exactly `tokens` tokens each.

    Args:
        encoder: lays pairs out.
        tokens: of a pair, special ones included.
        candidates: rows.
        seed: of the words.

    Raises:
        ValueError: the tokenizer knows no words of one token, or `tokens` leaves no room for a query and a document.
    """
    random = np.random.default_rng(seed)
    words = _words(encoder)
    room = tokens - encoder.extra
    query_words = min(QUERY_WORDS, room // 2)
    if query_words < 1:
        raise ValueError(f"tokens={tokens}: no room for a query and a document beside {encoder.extra} others")
    query = " ".join(random.choice(words, query_words))
    texts = [" ".join(random.choice(words, room - query_words)) for _ in range(candidates)]
    columns = {"docno": [f"d{row}" for row in range(candidates)], "text": texts}
    scores = {"score": -np.arange(candidates, dtype=float), "rank": np.arange(candidates)}
    return pd.DataFrame({"qid": "made-up", "query": query, **columns, **scores})


def _words(encoder: PairEncoder) -> list[str]:
    """Words that are one token, at the start of a text and inside one."""
    vocabulary = sorted({word.lstrip("Ġ▁") for word in encoder.tokenizer.get_vocab()})
    plain = [word for word in vocabulary if word.isascii() and word.isalpha() and word.islower()]
    spaced = plain[:: max(1, len(plain) // 2000)]
    unknown = encoder.tokenizer.unk_token_id
    found = [
        word
        for word, ids in zip(spaced, encoder.tokens([f"{word} {word}" for word in spaced]), strict=True)
        if len(ids) == 2 and unknown not in ids
    ]
    if not found:
        raise ValueError("the tokenizer knows no lower-case words of one token, of which pairs could be made up")
    return found


def measure_sizes(
    systems: Sequence[System], encoder: PairEncoder, journal: Journal, *, rounds: int, bar: tqdm, grid: Sequence[tuple]
) -> None:
    """Time every system on every cell of a grid, in rotating order after a warm-up, into a journal.

    A cell whose first round takes longer than `LONG` seconds isn't repeated.
    """
    known = {(entry["sweep"], entry["tokens"], entry["candidates"]) for entry in journal if entry["part"] == "sizes"}
    for number, (sweep, tokens, count) in enumerate(grid):
        if (sweep, tokens, count) in known:
            continue
        bar.set_description(f"sizes: {tokens} tokens, {count} candidates")
        frame = made_up(encoder, tokens, count)
        seconds: dict[str, list[float]] = {system.name: [] for system in systems}
        flops: dict[str, float] = {}
        for system in systems:
            system.rerank(frame.head(2 * FIXED_CANDIDATES))
        for turn in range(rounds):
            first = (number + turn) % len(systems)
            for system in [*systems[first:], *systems[:first]]:
                time.sleep(SETTLE)
                started = time.perf_counter()
                scored = system.rerank(frame)
                seconds[system.name].append(time.perf_counter() - started)
                if "spend" in scored:
                    flops[system.name] = float(scored["spend"].sum())
            if turn == 0 and sum(times[0] for times in seconds.values()) > LONG:
                break
        entry: dict[str, Any] = {"part": "sizes", "sweep": sweep, "tokens": tokens, "candidates": count}
        journal.append(entry | {"seconds": seconds, "flops": flops})
        bar.update()


def summary(journal: Journal, grid: Sequence[tuple]) -> pd.DataFrame:
    """One row a cell and system, columns as in `COLUMNS`; `fastest` marks the fastest that runs the full model."""
    rows = []
    for entry in journal:
        if entry["part"] != "sizes" or (entry["sweep"], entry["tokens"], entry["candidates"]) not in grid:
            continue
        cell = {name: entry[name] for name in ("sweep", "tokens", "candidates")}
        ms = {name: 1000 * float(np.median(times)) for name, times in entry["seconds"].items()}
        full = {name: value for name, value in ms.items() if name != QUARTER}
        fastest = min(full, key=lambda name: full[name])
        for name, value in ms.items():
            row = {**cell, "system": name, "ms": value, "pairs_per_s": 1000 * entry["candidates"] / value}
            gflops = entry["flops"].get(name, float("nan")) / 1e9
            rows.append(row | {"gflops": gflops, "fastest": "*" if name == fastest else ""})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log y against log x by least squares: 1 where y grows linearly with x, 2 where it grows quadratically.

    Example:
        >>> round(exponent([1, 10, 100], [3, 30, 300]), 6)
        1.0
    """
    return float(np.polyfit(np.log(np.asarray(x, float)), np.log(np.asarray(y, float)), 1)[0])


def crossovers(x: Sequence[float], ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Sizes at which the faster of two systems changes, between measured sizes by the logarithms of size and time.

    Example:
        >>> [round(size) for size in crossovers([10, 1000], [2.0, 20.0], [1.0, 40.0])]
        [100]
    """
    at: Floats = np.log(np.asarray(x, float))
    ahead: Floats = np.log(np.asarray(theirs, float)) - np.log(np.asarray(ours, float))  # above 0: ours is faster
    found = []
    for index in range(len(at) - 1):
        here, there = ahead[index], ahead[index + 1]
        if (here > 0) != (there > 0):
            found.append(float(np.exp(at[index] + (at[index + 1] - at[index]) * here / (here - there))))
    return found


def verdicts(table: pd.DataFrame) -> list[str]:
    """Sentences: who wins where, the crossovers of ours with every peer, and the exponents of cost."""
    lines = []
    units = {"length": "tokens", "candidates": "candidates"}
    for sweep, unit in units.items():
        part = table[table["sweep"] == sweep].sort_values(unit)
        if part.empty:
            continue
        by_system = dict(iter(part.groupby("system", sort=False)))
        for ours in (FULL, QUARTER):
            for name, theirs in by_system.items():
                if not str(name).startswith("ours"):
                    lines.append(_crossing(ours, str(name), unit, by_system[ours], theirs))
    part = table[(table["sweep"] == "candidates") & (table["candidates"] >= OVERHEAD)].sort_values("candidates")
    for name, rows in part.groupby("system", sort=False):
        if len(rows) < 2:
            continue
        line = f"{name}: milliseconds grow with candidates to the power {exponent(rows['candidates'], rows['ms']):.3f}"
        if rows["gflops"].notna().all():
            line += f", FLOPs to the power {exponent(rows['candidates'], rows['gflops']):.3f}"
        lines.append(f"{line} (from {OVERHEAD} candidates on; 1 is linear)")
    return lines


def _crossing(ours: str, theirs: str, unit: str, our_rows: pd.DataFrame, their_rows: pd.DataFrame) -> str:
    sizes = our_rows[unit].tolist()
    found = crossovers(sizes, our_rows["ms"].tolist(), their_rows["ms"].tolist())
    ratios = their_rows["ms"].to_numpy() / our_rows["ms"].to_numpy()
    spread = f"{ratios.min():.2f} to {ratios.max():.2f} times as fast, {sizes[0]} to {sizes[-1]} {unit}"
    if not found:
        return f"{ours} is {'faster' if ratios[0] > 1 else 'slower'} than {theirs} at every size ({spread})"
    first = "faster" if ratios[0] > 1 else "slower"
    places = ", ".join(f"{size:.0f}" for size in found)
    return f"{ours} is {first} than {theirs} at {sizes[0]} {unit}; the faster one changes at about {places} ({spread})"
