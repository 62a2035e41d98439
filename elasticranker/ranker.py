"""`ElasticRanker`, the PyTerrier transformer: frames in, frames out. Only this file of the core knows pandas."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pandas as pd
import pyterrier as pt

from elasticranker.frames import Lists, floats, in_incoming_order
from elasticranker.model.checkpoint import FIRST_STAGE, copy_checkpoint, fingerprint, is_elastic, tuned_on
from elasticranker.model.hub import check_name, is_at_hand, resolve
from elasticranker.model.loaded import Loaded, Settings, choose_device, choose_dtype
from elasticranker.model.speed import TIME_MARGIN
from elasticranker.planning.budget import Budget
from elasticranker.progress import bar, is_shown, part_of, phase, shown

if TYPE_CHECKING:
    from tqdm import tqdm

    from elasticranker.explanation import Explanation
    from elasticranker.model.checkpoint import Checkpoint
    from elasticranker.model.engine import Engine, Query
    from elasticranker.model.pairs import Pair
    from elasticranker.model.speed import SpeedProfile
    from elasticranker.planning.ladder import Ladder
    from elasticranker.planning.plan import Floats, Ranking

WARM_UP_TEXTS, WARM_UP_WORDS = 50, 128  # of a made-up query: some batches of all lengths
CHUNK_PAIRS = 3_000  # pairs of the queries that run together: bounds the hidden states that are kept (some 300 MB)


class ElasticRanker(pt.Transformer):
    """Reranks candidates with a cross-encoder within a budget a query.

    Choose it over a plain cross-encoder wherever compute is limited: the budget fixes what each query may cost, and a
    plan spreads it over candidates and sub-networks. With an ordinary Hugging Face cross-encoder it works as well: a
    training-free filter chooses the candidates that the whole model scores (Busolin et al. 2025).

    Input columns: `qid`, `query`, `docno`, the text field, and `score` and `rank` where there are. Output: the same
    rows and columns, `score` without ties, `rank` from 0. Candidates that reached a later stage of the plan rank above
    those that did not; what no stage could afford keeps its incoming order at the end.

    `score` means the same at every budget: it is on the scale of the whole model's logits. A pair that the whole model
    read has its logit, as all have at `full`. One that a smaller sub-network read last has the logit that would mean
    the same relevance, by the checkpoint's calibration; one that nothing read has that of an unread candidate. Where
    this isn't below the candidate ranked above, it is lowered to just below; no score is ever raised. `relevance` turns
    scores into probabilities, for thresholds.

    What may be cached (with `pyterrier_caching.ScorerCache`, say; one cache a checkpoint, budget, `max_length` and
    dtype): at `full` every score, for it depends on its pair alone. Below, unless it was lowered, a score depends on
    its pair and on the sub-network that read it last (`trace` names it), but which that is depends on the list. So a
    cached score holds for a threshold beside any list (where it was lowered it is too low, never too high), but gives
    the ranking of none but the list that it comes from.

    Example:
        >>> bm25 >> dataset.text_loader() >> ElasticRanker(budget="25%")  # doctest: +SKIP

    Args:
        model: `"default"` (the checkpoint that ships), a folder, or an id on the Hugging Face hub: of an elastic
            checkpoint, or of a BERT, ELECTRA, RoBERTa/XLM-R, DistilBERT, MPNet, ALBERT or ModernBERT cross-encoder with
            one or two logits. An id is fetched when it is first needed; cache, token and off-line mode are
            huggingface_hub's (`HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`).
        budget: what each query may cost, see `Budget`.
        text_field: column with the documents' texts.
        batch_size: padded tokens of a batch; memory grows with it, scores don't depend on it.
        max_length: most tokens of a pair; by default what the checkpoint names (also as sentence-transformers saves
            it), else 512; never more than the backbone has positions for. Longer documents are cut and counted
            (`truncated`).
        max_query_length: most tokens of a query. Longer queries are cut and counted likewise.
        device: `"cpu"`, `"cuda"`, ...; by default a GPU where there is one.
        dtype: `"auto"` (bfloat16 where the processor has instructions for it, else float32), `"float32"`, `"bfloat16"`.
        threads: that compute, of the whole process, from when the model is loaded on; by default torch's own choice
            (`OMP_NUM_THREADS`, or all cores). Give fewer where other work keeps cores busy.
        depth: rerank only the first so many candidates of a query and drop the others, as `% depth` before it would.
        first_stage: what made the candidates, whose ladder of the checkpoint is taken: after a stronger one, plans
            look at fewer of them. `dense` after `ElasticDenser`, where the checkpoint has been tuned for it.
        revision: branch, tag or commit of an id on the hub; by default its main branch.
        verbose: show bars: of loading, of measuring speed where the budget is one of time, and of the pairs, which
            moves with every batch.
        trace: add columns `exit_depth` and `exit_width` (the sub-network that scored a candidate last; -1 and 0 where
            none did), `exit_tokens` (how much of the document it read; 0 for all of it) and `spend` (its FLOPs).

    Raises:
        ValueError: an argument that makes no sense, or a model that isn't there.
    """

    schematic: ClassVar = {"label": "ElasticRanker", "help_url": None}

    def __init__(
        self,
        model: str = "default",
        *,
        budget: str | Budget = "full",
        text_field: str = "text",
        batch_size: int = 4096,
        max_length: int | None = None,
        max_query_length: int = 64,
        device: str | None = None,
        dtype: str = "auto",
        threads: int | None = None,
        depth: int | None = None,
        first_stage: str = FIRST_STAGE,
        revision: str | None = None,
        verbose: bool = False,
        trace: bool = False,
    ) -> None:
        self.model = str(model)
        self.budget = Budget(budget)
        self.text_field = text_field
        self.batch_size = _positive("batch_size", batch_size)
        self.max_length = None if max_length is None else _positive("max_length", max_length)
        self.max_query_length = _positive("max_query_length", max_query_length)
        self.device = device
        if dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"dtype={dtype!r}: choose 'auto', 'float32' or 'bfloat16'")
        self.dtype = dtype
        self.threads = None if threads is None else _positive("threads", threads)
        self.depth = None if depth is None else _positive("depth", depth)
        self.first_stage = first_stage
        self.verbose = verbose
        self.trace = trace
        self.revision = revision
        self.truncated = 0
        check_name(self.model, revision)
        self._loaded = Loaded(
            Settings(
                self.model,
                self.batch_size,
                self.max_length,
                self.max_query_length,
                self.device,
                self.dtype,
                self.revision,
                self.threads,
            )
        )

    @classmethod
    def from_pretrained(cls, model: str | Path, **arguments: Any) -> ElasticRanker:
        """The same as the constructor, under the name that Hugging Face users expect."""
        return cls(str(model), **arguments)

    def save_pretrained(self, folder: str | Path, *, dtype: str | None = None) -> Path:
        """Write the checkpoint as a folder that `from_pretrained` reads (also one made of a plain cross-encoder).

        Args:
            folder: where; made if need be.
            dtype: of the weights on disk: `float32`, `bfloat16` or `float16`, rounded if need be. By default the one
                that they came in, so that nothing is rounded.
        """
        from elasticranker.model.card import model_card

        return self.checkpoint.save(folder, model_card(self.checkpoint, name=Path(folder).name), dtype=dtype)

    def push_to_hub(
        self, repository: str, *, private: bool | None = None, token: str | None = None, **arguments: Any
    ) -> Any:
        """Upload the checkpoint to the Hugging Face hub, where `ElasticRanker(repository)` finds it.

        Args:
            repository: its id, `owner/name`; made if need be.
            private: whether a new one is; by default as its owner has set.
            token: by default the one of `HF_TOKEN` or `hf auth login`.
            arguments: go to `HfApi.upload_folder`, such as `commit_message`.
        """
        import tempfile

        from huggingface_hub import HfApi

        hub = HfApi(token=token)
        with tempfile.TemporaryDirectory() as folder:
            place = resolve(self.model, self.revision)
            if is_elastic(place):
                copy_checkpoint(place, folder)
            else:
                self.save_pretrained(folder)
            hub.create_repo(repository, private=private, exist_ok=True)
            return hub.upload_folder(repo_id=repository, folder_path=folder, **arguments)

    def with_budget(self, budget: str | Budget) -> ElasticRanker:
        """A sibling with another budget that shares the loaded weights.

        Example:
            >>> half = ranker.with_budget("50%")  # doctest: +SKIP
        """
        return self._sibling(budget=Budget(budget))

    def traced(self) -> ElasticRanker:
        """A sibling with `trace=True` that shares the loaded weights."""
        return self._sibling(trace=True)

    def _sibling(self, **changes: Any) -> ElasticRanker:
        other = copy.copy(self)
        other.truncated = 0
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    def warm_up(self) -> ElasticRanker:
        """Load the model and rerank a made-up query, so that no real query pays for what happens but once.

        Call it before times are measured: `mrt` in `pt.Experiment` counts the loading of weights for whichever system
        comes first. Siblings share the weights, but other budgets cut other sub-networks out of them: warm up each.

        Returns:
            This ranker.

        Example:
            >>> systems = [bm25 >> text >> ranker.with_budget(b).warm_up() for b in ("25%", "full")]  # doctest: +SKIP
            >>> pt.Experiment(systems, topics, qrels, ["recip_rank", "mrt"], plan="tree")  # doctest: +SKIP
        """
        with shown(self.verbose or is_shown()):
            longest = min(WARM_UP_WORDS, self._load().pairs.max_length // 2)
            texts = ["a " * (1 + longest * place // WARM_UP_TEXTS) for place in range(WARM_UP_TEXTS)]
            docnos = [str(place) for place in range(WARM_UP_TEXTS)]
            made_up = pd.DataFrame({"qid": "warm-up", "query": "a", "docno": docnos, self.text_field: texts})
            with phase(f"warming up at {self.budget}"):
                self._sibling(verbose=False).transform(made_up)
        return self

    @property
    def ladder(self) -> Ladder:
        """The plans for this first stage: in a notebook a figure and a table, `ladder.table()` as a frame.

        Raises:
            ValueError: the checkpoint has none for it.
        """
        return self.checkpoint.plans(self.first_stage)

    @property
    def fingerprint(self) -> str:
        """Digest of the checkpoint's files; equal fingerprints give equal scores. Loads no weights."""
        return fingerprint(self.model, self.revision)

    @property
    def checkpoint(self) -> Checkpoint:
        """The loaded checkpoint, which knows what it holds, at what price, and where it comes from."""
        return self._loaded.checkpoint

    @property
    def engine(self) -> Engine:
        """What scores pairs; for tools that need more than a ranking."""
        return self._loaded.engine

    @property
    def speed(self) -> SpeedProfile:
        """How long so many FLOPs take here; measured when it is first asked for (a few seconds)."""
        with shown(self.verbose or is_shown()):
            return self._loaded.speed

    @property
    def tuned_on(self) -> frozenset[str]:
        """The `query_key` of each query that the ladder was tuned on; no experiment may report them."""
        return frozenset(tuned_on(self.model, self.revision))

    def relevance(self, scores: Iterable[float]) -> Floats:
        """Probabilities of relevance, from 0 to 1, that scores mean at any budget. For thresholds.

        Those of a checkpoint that nobody calibrated (`elasticranker calibrate`), as of an ordinary cross-encoder, are
        its logits' sigmoids.

        Example:
            >>> kept = ranked[ranker.relevance(ranked["score"]) > 0.5]  # doctest: +SKIP
        """
        return self.checkpoint.calibration.relevance(scores)

    def explain(self, frame: pd.DataFrame) -> Explanation:
        """What this budget does to the candidates of one query: who is scored by what, at what cost, and moves where.

        Args:
            frame: a result frame of one query, as `transform` takes it.

        Returns:
            A table and a bump chart, which a notebook shows.

        Raises:
            ValueError: no query or several; or as `transform`.

        Example:
            >>> ranker.explain(candidates[candidates["qid"] == "7"]).plot()  # doctest: +SKIP
        """
        from elasticranker.explanation import Explanation

        self._validate(frame)
        lists = self._lists(frame)
        if len(lists) != 1:
            raise ValueError(
                f"explain takes the candidates of one query, and this frame has {len(lists)} queries: pick one, as in "
                'frame[frame["qid"] == "7"]'
            )
        engine = self._load()
        (query,), _ = self._asked(lists, range(1), floats(lists.frame, "score") if "score" in lists.frame else None)
        (ranking,) = engine.rank([query])
        cost = engine.full_cost(query.pairs)
        return Explanation.of(lists.frame, ranking, self.budget, query.plan, engine.full, cost)

    def full_cost(self, frame: pd.DataFrame) -> pd.Series:
        """FLOPs of the full model over each query's candidates, by qid."""
        priced = [(qid, self.engine.full_cost(pairs)) for qid, pairs in self.pairs(frame)]
        qids = pd.Index([qid for qid, _ in priced], tupleize_cols=False)
        return pd.Series([cost for _, cost in priced], index=qids, dtype="int64", name="full_cost")

    def pairs(self, frame: pd.DataFrame) -> Iterator[tuple[Any, list[Pair]]]:
        """Each query's qid and tokenised pairs, in incoming order."""
        lists = self._lists(frame)
        for some in self._chunks(lists):
            yield from zip(lists.qids[some.start : some.stop], self._pairs(lists, some), strict=True)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Rerank the candidates of every query.

        Args:
            inp: a result frame with query and text.

        Returns:
            The same rows, reranked.

        Raises:
            KeyError: a column is missing.
            ValueError: a column is there twice, or a qid, docno, query or text is missing (column and row are named).
        """
        self._validate(inp)
        lists = self._lists(inp)
        if not len(inp):
            return self._empty(inp)
        scores = floats(lists.frame, "score") if "score" in lists.frame else None
        rankings: list[Ranking] = []
        with shown(self.verbose or is_shown()):
            self._load()
            with bar(name="ElasticRanker", total=len(lists.frame), unit="pairs", hidden=not self.verbose) as moving:
                for some in self._chunks(lists):
                    rankings += self._rank(lists, some, scores, moving)
        return self._joined(lists, rankings)

    def _load(self) -> Engine:
        """The engine; a budget of time is ready to be spent, too."""
        _ = self.ladder  # refused before anything is scored, or measured
        if self.budget.kind == "time":
            _ = self._loaded.speed  # measured before the clock starts
        return self._loaded.engine

    def compile(self) -> pt.Transformer:
        """`depth` as a rank cut-off in front, where a retriever can take it over.

        There is no `fuse_rank_cutoff`: which candidates are the best `k` is known after all of them were ranked, so
        `ranker % k` has nothing to save, and cutting before the ranker (`depth`) is another ranking.
        """
        return self if self.depth is None else pt.RankCutoff(self.depth) >> self._sibling(depth=None)

    def set_parameter(self, name: str, value: Any) -> None:
        """For PyTerrier's grid search: become the ranker that this argument makes, with the weights where they stay."""
        made = cast(ElasticRanker, pt.inspect.transformer_apply_attributes(self, **{name: value}))
        if made._loaded.settings == self._loaded.settings:
            made._loaded = self._loaded
        vars(self).update(vars(made))

    def _validate(self, frame: pd.DataFrame) -> None:
        if self.text_field not in frame.columns and {"qid", "query", "docno"} <= set(frame.columns) and len(frame):
            raise KeyError(
                f"ElasticRanker needs the documents' texts in the column {self.text_field!r}: put "
                f"dataset.text_loader() (or pt.text.get_text) in front of it, or name the column with text_field "
                f"(columns: {list(frame.columns)})"
            )
        pt.validate.columns(frame, includes=["qid", "query", "docno", self.text_field], context=self)

    def _empty(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.assign(score=pd.Series(dtype="float64"), rank=pd.Series(dtype="int64"))
        if self.trace:
            frame = frame.assign(
                exit_depth=pd.Series(dtype="int64"),
                exit_width=pd.Series(dtype="float64"),
                exit_tokens=pd.Series(dtype="int64"),
                spend=pd.Series(dtype="int64"),
            )
        return frame

    def _lists(self, frame: pd.DataFrame) -> Lists:
        """The candidates of each query as they came, checked and cut to `depth`."""
        lists = in_incoming_order(frame, texts=("query", self.text_field))
        return lists if self.depth is None else lists.head(self.depth)

    def _chunks(self, lists: Lists) -> Iterator[range]:
        """Whole lists, as many at a time as memory and fair timing allow (one at a time under a time budget)."""
        start = 0
        for number in range(1, len(lists) + 1):
            whole = number == len(lists) or self.budget.kind == "time"
            if whole or lists.starts[number + 1] - lists.starts[start] > CHUNK_PAIRS:
                yield range(start, number)
                start = number

    def _pairs(self, lists: Lists, some: range) -> list[list[Pair]]:
        """The pairs of some lists; every distinct text of theirs is tokenised once."""
        encoder = self._loaded.engine.pairs
        rows = lists.rows(some.start, some.stop)
        queries, texts = (lists.frame[column].iloc[rows].tolist() for column in ("query", self.text_field))
        asked, read = list(dict.fromkeys(queries)), list(dict.fromkeys(texts))
        query_tokens = dict(zip(asked, encoder.queries(asked), strict=True))
        text_tokens = dict(zip(read, encoder.tokens(read), strict=True))
        made: list[list[Pair]] = []
        for number in some:
            seen: dict[tuple[str, str], Pair] = {}
            made.append([])
            for row in range(lists.starts[number] - rows.start, lists.starts[number + 1] - rows.start):
                query, document = query_tokens[queries[row]], text_tokens[texts[row]]
                pair = seen.setdefault((queries[row], texts[row]), encoder.pair(query, document))
                self._count_cut(len(pair.query) < len(query) or len(pair.document) < len(document))
                made[-1].append(pair)
        return made

    def _count_cut(self, cut: bool) -> None:
        if cut and not self._loaded.warned:
            self._loaded.warned = True
            limits = self._loaded.engine.pairs
            warnings.warn(
                f"texts longer than max_length={limits.max_length} tokens (queries: "
                f"max_query_length={limits.max_query_length}) are cut; `truncated` counts the pairs",
                stacklevel=2,
            )
        self.truncated += cut

    def _rank(self, lists: Lists, some: range, scores: Floats | None, moving: tqdm) -> list[Ranking]:
        """The rankings of some lists, given the incoming scores of all rows; the bar moves by their rows."""
        engine = self._loaded.engine
        queries, layers = self._asked(lists, some, scores)
        advance = part_of(moving, sum(len(query.pairs) for query in queries), layers)
        rankings = engine.rank(queries, progress=advance)
        advance(layers)
        return rankings

    def _asked(self, lists: Lists, some: range, scores: Floats | None) -> tuple[list[Query], float]:
        """What the engine is asked for some lists; and layers that all pairs will go through, roughly."""
        from elasticranker.model.engine import Query

        engine, ladder = self._loaded.engine, self.ladder
        started = time.perf_counter()
        queries = []
        layers = 0.0  # what the bar moves by
        for number, pairs in zip(some, self._pairs(lists, some), strict=True):
            whole = engine.full_cost(pairs)
            budget, deadline = self._allowance(whole, started)
            prior: Floats | None = None if scores is None else scores[lists.rows(number, number + 1)]
            share = min(1.0, budget / whole)
            layers += share * len(pairs) * engine.full.depth
            queries.append(Query(pairs, prior, ladder.plan(share), budget, deadline))
        return queries, layers

    def _allowance(self, whole: int, started: float) -> tuple[int, float | None]:
        """A query's budget in FLOPs, and its deadline where it is one of time."""
        if self.budget.is_full:
            return whole, None
        if self.budget.kind == "share":
            return int(self.budget.value * whole), None
        if self.budget.kind == "flops":
            return min(whole, int(self.budget.value)), None
        deadline = started + self.budget.value
        left = TIME_MARGIN * (deadline - time.perf_counter())
        return min(whole, int(self._loaded.speed.flops_in(left))), deadline

    def _joined(self, lists: Lists, rankings: list[Ranking]) -> pd.DataFrame:
        """The rows of all lists as they were ranked."""
        order = np.concatenate([rows.start + ranking.order for rows, ranking in zip(lists, rankings, strict=True)])
        result = lists.frame.iloc[order].reset_index(drop=True)
        result["score"] = np.concatenate([ranking.scores for ranking in rankings])
        result["rank"] = np.concatenate([np.arange(len(ranking.order)) for ranking in rankings])
        if self.trace:
            subnets = [ranking.subnets[index] for ranking in rankings for index in ranking.order]
            result["exit_depth"] = np.asarray([-1 if s is None else s.depth for s in subnets])
            result["exit_width"] = np.asarray([0.0 if s is None else s.width for s in subnets])
            result["exit_tokens"] = np.asarray([0 if s is None else s.tokens or 0 for s in subnets])
            result["spend"] = np.concatenate([ranking.spend[ranking.order] for ranking in rankings])
        return result

    def _key(self) -> tuple[Any, ...]:
        return (self._loaded.settings, self.budget, self.text_field, self.depth, self.first_stage, self.trace)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, ElasticRanker) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"ElasticRanker({self.model!r}, budget={str(self.budget)!r})"

    def _repr_html_(self) -> str | None:
        from elasticranker.display.html import facts

        drawn = super()._repr_html_()
        return None if drawn is None else drawn + facts(self._facts())

    def _facts(self) -> dict[str, str]:
        """What a notebook shows under the schematic. Reads a checkpoint that is at hand, and never fetches one."""
        from elasticranker.planning.reach import TYPICAL, reach_in_words

        known = {"model": self.model, "budget": self.budget.words, "dtype": self.dtype}
        if not (is_at_hand(self.model) or self._loaded.is_ready):
            return known | {"plan": "known once the model is fetched, which the first use does"}
        if self.dtype == "auto":
            device = choose_device(self.device)
            known["dtype"] = f"auto: {str(choose_dtype('auto', device)).removeprefix('torch.')} on {device}"
        if self.budget.kind != "share":
            return known | {"plan": "by the share of a query's full cost that this comes to, see ranker.ladder"}
        plan = self._loaded.ladder.plan(self.budget.value)
        reach = reach_in_words(plan, self.checkpoint.cost, self.budget.value)
        return known | {"plan": str(plan), "in words": f"{TYPICAL}: {reach}"}


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r}: a whole number above 0")
    return value
