"""Split layout: the texts of a pair side by side, as a bi-encoder reads them, and what passes between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from elasticranker.model.checkpoint import Checkpoint, load
from elasticranker.model.encoder import Encoder
from elasticranker.model.engine import Engine, Query
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.model.split import SplitPairEncoder
from elasticranker.planning.plan import Plan, Stage, SubNet
from tests.backbones import WORDS, save_backbone, tokenizer

PREFIXES = ("who ", "the river ")
TEXTS = st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=20).map(" ".join)
CUTS = st.sampled_from([None, None, 3, 9])  # tokens of a document
STAGES = st.lists(
    st.builds(Stage, st.builds(SubNet, st.integers(0, 3), st.sampled_from([1.0, 0.5]), CUTS), st.floats(0.1, 1.0)),
    min_size=1,
    max_size=4,
)


def split(folder: Path, family: str = "bert", first_cross: int = 0, document_start: int = 0) -> Checkpoint:
    """A random checkpoint in split layout whose texts see each other a lot, from layer `first_cross` on."""
    place = save_backbone(folder, family)
    begun, config = from_hugging_face(str(place), keep_head=False, split=True)
    torch.manual_seed(2)
    encoder = Encoder(replace(begun.shape, first_cross=first_cross, document_start=document_start), {})
    encoder.exits = begun.exits
    encoder.load_state_dict({k: v for k, v in begun.state_dict().items() if k in encoder.state_dict()})
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith(".cross"):
                parameter.normal_(std=2.0)
            elif name.startswith("exits."):
                parameter.add_(0.3 * torch.randn_like(parameter))
    made = load(place)
    return Checkpoint(encoder.eval(), made.tokenizer, config, widths=(1.0, 0.5), prefixes=PREFIXES)


def engine_of(checkpoint: Checkpoint, batch_size: int = 512) -> Engine:
    return Engine(
        checkpoint.encoder,
        checkpoint.pairs(max_length=72, max_query_length=16),
        checkpoint.cost,
        dtype=torch.float32,
        device=torch.device("cpu"),
        batch_size=batch_size,
    )


def plan_of(stages: list[Stage]) -> Plan:
    whole = sum(stage.share for stage in stages)
    return Plan(tuple(replace(stage, share=stage.share / whole) for stage in stages))


def query_of(engine: Engine, queries: list[str], documents: list[str], plan: Plan, share: float) -> Query:
    """One query of some rows; a row has its own query text."""
    texts = engine.pairs.tokens(queries + documents)
    pairs = [engine.pairs.pair(q, d) for q, d in zip(texts[: len(queries)], texts[len(queries) :], strict=True)]
    return Query(pairs, None, plan, int(share * engine.full_cost(pairs)))


@pytest.fixture(scope="module", params=[(0, 0), (1, 0), (2, 0), (3, 0), (0, 5), (2, 5)], ids=str)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    first_cross, document_start = request.param
    return engine_of(split(tmp_path_factory.mktemp("split"), first_cross=first_cross, document_start=document_start))


def test_each_text_is_what_the_tokenizer_makes_of_it_alone() -> None:
    made = tokenizer("bert")
    encoder = SplitPairEncoder(made, max_length=70, max_query_length=16, prefixes=PREFIXES)
    pair = encoder.pair(*encoder.tokens(["cat", "money flows to the bank"]))
    bucket = encoder.bucket(pair)
    batch = encoder.batch([pair], *bucket)
    own = batch.ids[0].masked_fill(batch.blank[0], -1)
    expected = [
        made(prefix + text)["input_ids"]
        for prefix, text in zip(PREFIXES, ["cat", "money flows to the bank"], strict=True)
    ]
    assert [part[part >= 0].tolist() for part in (own[: bucket.slots], own[bucket.slots :])] == expected
    assert encoder.length(pair) == sum(map(len, expected))
    where = batch.segments
    assert made.convert_ids_to_tokens(batch.ids[0, where.document[0]]) == ["money", "flows", "to", "the", "bank"]
    assert made.convert_ids_to_tokens(batch.ids[0, : bucket.slots][where.query[0]]) == ["cat"]


@pytest.mark.parametrize("family", ["bert", "electra", "roberta"])
@pytest.mark.parametrize("start", [1, 7])
def test_documents_may_stand_where_they_do_in_a_joint_pair(tmp_path: Path, family: str, start: int) -> None:
    """Positions and token types are those behind a query of `start` tokens."""
    begun, _ = from_hugging_face(save_backbone(tmp_path, family), keep_head=False, split=True, document_start=start)
    with torch.no_grad():
        begun.embeddings.position.normal_()
    ids = torch.randint(5, begun.shape.vocabulary, (3, start + 6))
    types = (torch.arange(start + 6) >= start).long().expand_as(ids) if begun.shape.types > 1 else torch.zeros_like(ids)
    joint = begun.embeddings(ids, types, torch.float32)
    own = begun.embeddings(ids, torch.zeros_like(ids), torch.float32, start)
    alone = begun.embeddings(ids[:, start:], torch.zeros_like(ids[:, start:]), torch.float32, second=True)
    torch.testing.assert_close(own, joint)
    torch.testing.assert_close(alone, joint[:, start:])


def test_positions_end_with_the_last_one(tmp_path: Path) -> None:
    begun, _ = from_hugging_face(save_backbone(tmp_path, "bert"), keep_head=False, split=True, document_start=9)
    last = begun.shape.positions
    ids = torch.full((1, last), 7)
    made = begun.embeddings(ids, torch.zeros_like(ids), torch.float32, second=True)[0]
    torch.testing.assert_close(made[last - 9 :], made[last - 10].expand(9, -1))


def test_texts_that_never_see_each_other_score_as_a_bi_encoder(tmp_path: Path) -> None:
    from transformers import AutoModel

    place = save_backbone(tmp_path, "bert")
    begun, config = from_hugging_face(str(place), keep_head=False, split=True)
    encoder = Encoder(replace(begun.shape, first_cross=begun.shape.layers), {})
    encoder.exits = begun.exits
    encoder.load_state_dict({k: v for k, v in begun.state_dict().items() if k in encoder.state_dict()})
    checkpoint = Checkpoint(encoder.eval(), load(place).tokenizer, config, prefixes=PREFIXES)
    engine = engine_of(checkpoint)
    model = AutoModel.from_pretrained(place, add_pooling_layer=False).eval()

    def vector(text: str) -> torch.Tensor:
        with torch.no_grad():
            return model(**checkpoint.tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)

    texts = engine.pairs.tokens(["a cat", "money flows to the bank", "the river bank of the river"])
    pairs = [engine.pairs.pair(texts[0], text) for text in texts[1:]]
    found = engine.every_exit(pairs, 1.0)[encoder.shape.layers]
    query = vector(PREFIXES[0] + "a cat")
    documents = [vector(PREFIXES[1] + t) for t in ("money flows to the bank", "the river bank of the river")]
    expected = [50 * float(torch.cosine_similarity(query, document, dim=0)) for document in documents]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=STAGES,
    rows=st.lists(st.tuples(st.sampled_from(["a cat", "who is at the bank of the river", ""]), TEXTS), min_size=1),
    share=st.floats(0.02, 1.0),
)
def test_spend_is_what_torch_counts_and_within_the_budget(engine, stages, rows, share) -> None:
    query = query_of(engine, *map(list, zip(*rows, strict=True)), plan_of(stages), share)
    with FlopCounterMode(display=False) as counter:
        (ranking,) = engine.rank([query])
    assert ranking.spend.sum() == counter.get_total_flops() <= query.budget


def test_the_query_is_read_once_however_many_documents_there_are(tmp_path: Path) -> None:
    engine = engine_of(split(tmp_path, first_cross=3))
    plan = plan_of([Stage(SubNet(3), 1.0)])
    one = query_of(engine, ["a cat"], ["the river bank"], plan, 1.0)
    ten = query_of(engine, ["a cat"] * 10, ["the river bank"] * 10, plan, 1.0)
    cost = engine.cost
    assert one.budget == cost.query(8, 3, 1.0) + cost.pair(16, 8, 3, 1.0)
    assert ten.budget == cost.query(8, 3, 1.0) + 10 * cost.pair(16, 8, 3, 1.0)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=st.lists(TEXTS, min_size=2, max_size=12), depth=st.integers(0, 3), width=st.sampled_from([1.0, 0.5]))
def test_a_pairs_score_is_the_same_alone_in_company_and_from_stage_to_stage(engine, documents, depth, width) -> None:
    subnet = SubNet(depth, width if depth else 1.0)
    alone = []
    for document in documents:
        pair = engine.pairs.pair(*engine.pairs.tokens(["who is at the bank", document]))
        alone.append(float(engine.every_exit([pair], subnet.width)[depth][0]))
    texts = engine.pairs.tokens(["who is at the bank", *documents])
    pairs = [engine.pairs.pair(texts[0], document) for document in texts[1:]]
    company = engine.every_exit(pairs, subnet.width)[depth]
    # Scores are about 50, where float32 has steps of 4e-6: kernels for other shapes may add in another order.
    np.testing.assert_allclose(company, alone, rtol=1e-6, atol=1e-5)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=st.lists(TEXTS, min_size=2, max_size=12, unique=True), width=st.sampled_from([1.0, 0.5]))
def test_states_that_were_kept_give_the_scores_of_a_fresh_run(engine, documents, width) -> None:
    queries = ["who is at the bank"] * len(documents)
    steps = [Stage(SubNet(depth, width if depth else 1.0), 1.0) for depth in range(4)]
    made = query_of(engine, queries, documents, plan_of(steps), 1.0)
    (staged,) = engine.rank([replace(made, budget=10 * made.budget)])
    direct = engine.every_exit(made.pairs, 1.0)[3]
    assert staged.subnets == [SubNet(3)] * len(documents)
    np.testing.assert_allclose(staged.scores, direct[staged.order], atol=1e-4)


def test_a_saved_checkpoint_is_the_same_one(tmp_path: Path) -> None:
    made = split(tmp_path / "backbone", first_cross=1, document_start=4)
    read = load(made.save(tmp_path / "checkpoint"))
    assert (read.prefixes, read.encoder.shape) == (PREFIXES, made.encoder.shape)
    pairs = [engine_of(read).pairs.pair(*engine_of(read).pairs.tokens(["a cat", "the river bank"]))]
    rounded = engine_of(made).every_exit(pairs, 1.0)
    for depth, scores in engine_of(read).every_exit(pairs, 1.0).items():
        np.testing.assert_allclose(scores, rounded[depth], rtol=0.02, atol=0.2)  # bfloat16 on disk
