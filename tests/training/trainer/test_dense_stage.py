"""The dense stage: sub-networks learn the teacher's vectors, from texts alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elasticranker import ElasticDenser
from elasticranker.cli import main
from elasticranker.model.checkpoint import load
from elasticranker.model.sharing import share_tokens
from elasticranker.planning.dense import DenseReading
from elasticranker.training.data.groups import Groups
from elasticranker.training.trainer.choosing import choose_layers
from elasticranker.training.trainer.dense_stage import DenseTrainer
from elasticranker.training.trainer.dense_step import in_space, read_vectors
from tests.model.test_split import split
from tests.planning.test_cost import elastic
from tests.training.tiny import make_groups, settings


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory, backbone: str) -> Groups:
    """The tiny data with the vectors that the backbone itself makes of them."""
    made = make_groups(tmp_path_factory.mktemp("source"))
    teacher = ElasticDenser(bare(backbone, tmp_path_factory.mktemp("bare")), dtype="float32", max_length=32)
    queries, documents = teacher.encode_queries(made.queries), teacher.encode_docs(made.documents)
    made.vectors = queries.astype(np.float16), documents.astype(np.float16)
    return made


def bare(backbone: str, folder: Path) -> str:
    """The backbone's encoder without its head."""
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(backbone).save_pretrained(folder)
    AutoTokenizer.from_pretrained(backbone).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, groups: Groups) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    groups.save(folder, {"teacher": "itself", "temperature": 0.1})
    return folder


def trained(backbone: str, data: Path, output: Path, *, stop: int | None = None, **changed: Any) -> DenseTrainer:
    given = settings(layout="split", widths=(1.0,), temperature=0.1, document_share=0.25, **changed)
    trainer = DenseTrainer(backbone, data, output, given, dtype="float32", resume=True, save_every=0.0)
    if stop is not None:

        def interrupt(step: int) -> None:
            if step == stop:
                trainer.max_minutes = 0.0

        trainer.on_step = interrupt
    trainer.train()
    return trainer


def test_untrained_the_whole_model_is_the_teacher(backbone: str, data: Path, tmp_path: Path) -> None:
    given = settings(layout="split", widths=(1.0,), temperature=0.1)
    trainer = DenseTrainer(backbone, data, tmp_path, given, dtype="float32")
    found = trainer.validate()
    assert found is not None
    assert found["cosine"][-1] == pytest.approx(1, abs=1e-3) and found["agreement"][-1] == 1
    assert found["cosine"][0] < 0.95


@pytest.mark.parametrize("layers", ["first", "chosen"])
def test_every_exit_comes_nearer_to_the_teacher_and_the_whole_model_stays(
    backbone: str, data: Path, tmp_path: Path, layers: str
) -> None:
    begun = DenseTrainer(
        backbone,
        data,
        tmp_path / "begun",
        settings(layout="split", widths=(1.0,), temperature=0.1, query_layers=layers),
        dtype="float32",
    ).validate()
    trainer = trained(backbone, data, tmp_path / "run", steps=60, query_layers=layers, group_size=8)
    ended = trainer.validate()
    assert begun is not None and ended is not None
    assert all(after > before for before, after in zip(begun["cosine"][:-1], ended["cosine"][:-1], strict=True))
    assert ended["cosine"][-1] > 0.95
    denser = ElasticDenser(str(trainer.product), budget="50%", dtype="float32", trace=True)
    assert bool(denser.checkpoint.dense.order) == (layers == "chosen")
    assert denser.subnets["depth"].tolist()[0] == 3
    assert {subnet.depth for subnet, _ in denser.checkpoint.dense.rated} == {0, 1, 2, 3}


@pytest.mark.parametrize("layers", ["first", "chosen"])
def test_exits_start_where_least_squares_puts_them(backbone: str, data: Path, tmp_path: Path, layers: str) -> None:
    def begun(fit_steps: int) -> list[float]:
        given = settings(layout="split", widths=(1.0,), temperature=0.1, query_layers=layers, fit_steps=fit_steps)
        trainer = DenseTrainer(backbone, data, tmp_path / str(fit_steps), given, dtype="float32")
        trainer.prepare_start()
        found = trainer.validate()
        assert found is not None
        return list(found["cosine"])

    bare, fitted = begun(0), begun(40)
    assert all(after > before for before, after in zip(bare[:-1], fitted[:-1], strict=True))
    assert fitted[-1] == bare[-1]  # the whole model has no projection


def test_the_layers_that_are_kept_longest_are_those_that_vectors_need(
    backbone: str, data: Path, tmp_path: Path
) -> None:
    """Two of the three layers are made to do nothing: they go first."""
    given = settings(layout="split", widths=(1.0,), temperature=0.1, query_layers="chosen", fit_steps=8)
    trainer = DenseTrainer(backbone, data, tmp_path / "run", given, dtype="float32")
    with torch.no_grad():
        for name, parameter in trainer.encoder.layers.named_parameters():
            if not name.startswith("1.") and ("out" in name or "down" in name):
                parameter.zero_()
    batches = [batch for number in range(8) for batch in trainer.sampler.step(number).full]
    whole = [read_vectors(trainer.encoder, DenseReading(), batch, 1.0, torch.float32)[-1] for batch in batches]
    taught = [batch._replace(targets=vectors) for batch, vectors in zip(batches, whole, strict=True)]
    assert choose_layers(trainer.encoder, taught, torch.float32)[0] == 1


def test_a_run_that_is_gone_on_with_keeps_its_layers(backbone: str, data: Path, tmp_path: Path) -> None:
    killed = trained(backbone, data, tmp_path / "run", stop=3, query_layers="chosen")
    order = killed.checkpoint.dense.order
    assert sorted(order) == [0, 1, 2]
    (tmp_path / "run" / "layers.json").write_text(json.dumps(order[::-1]))  # what is read is what was written
    resumed = trained(backbone, data, tmp_path / "run", query_layers="chosen")
    assert load(resumed.product).dense.order == order[::-1] == resumed.module.reading.order
    for layers in ("chosen", "first"):  # exits of a checkpoint are for the layers that it has
        given = replace(resumed.settings, query_layers=layers)
        further = DenseTrainer(resumed.product, data, tmp_path / layers, given, dtype="float32")
        assert further.checkpoint.dense.order == order[::-1]
        before = further.encoder.exits["1"].projection.clone()
        further.prepare_start()
        assert torch.equal(further.encoder.exits["1"].projection, before)  # trained ones aren't fitted again


def test_corrections_are_trained_and_what_is_shared_stays(backbone: str, data: Path, tmp_path: Path) -> None:
    shared = trained(backbone, data, tmp_path / "shared", steps=2, query_layers="chosen", fit_steps=0, group_size=8)
    given = replace(shared.settings, query_rank=4, document_share=0.0, steps=60)
    trainer = DenseTrainer(shared.product, data, tmp_path / "own", given, dtype="float32")
    begun = trainer.validate()
    trainer.train()
    ended = trainer.validate()
    before, after = (load(place).encoder.state_dict() for place in (shared.product, trainer.product))
    own = {name for name in before if not torch.equal(before[name], after[name])}
    assert own == {"exits.0.projection", "exits.1.projection", "exits.2.projection"}
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"1", "2"}  # no layer, no correction
    assert begun is not None and ended is not None
    assert all(later > sooner for sooner, later in zip(begun["cosine"][1:3], ended["cosine"][1:3], strict=True))
    assert ended["cosine"][3] == begun["cosine"][3]


def test_a_killed_run_of_corrections_ends_as_an_undisturbed_one(backbone: str, data: Path, tmp_path: Path) -> None:
    given = settings(
        layout="split", widths=(1.0,), temperature=0.1, query_rank=2, document_share=0.0, query_layers="chosen"
    )
    products = []
    for name, minutes in (("whole", None), ("killed", 0.0)):
        trainer = DenseTrainer(backbone, data, tmp_path / name, given, dtype="float32", max_minutes=minutes)
        trainer.train()
        products.append(trainer.product)
    resumed = DenseTrainer(backbone, data, tmp_path / "killed", given, dtype="float32", resume=True)
    resumed.train()
    ours, theirs = (load(product).encoder.state_dict() for product in (products[0], resumed.product))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_corrections_of_what_encodes_documents_are_refused() -> None:
    for wrong in ({"document_share": 0.1}, {"widths": (1.0, 0.5), "document_share": 0.0}):
        with pytest.raises(ValueError, match=r"query_rank=4: corrections are of query encoders of full width"):
            settings(**({"layout": "split", "widths": (1.0,), "query_rank": 4} | wrong))
    with pytest.raises(ValueError, match="query_rank=-1: a rank"):
        settings(query_rank=-1)


@pytest.mark.parametrize("dims", [(), (8,)])
def test_a_killed_run_ends_as_an_undisturbed_one(
    backbone: str, data: Path, tmp_path: Path, dims: tuple[int, ...]
) -> None:
    whole = trained(backbone, data, tmp_path / "whole", dims=dims)
    trained(backbone, data, tmp_path / "killed", stop=3, dims=dims)
    killed = trained(backbone, data, tmp_path / "killed", dims=dims)
    assert killed.progress.step == 6
    ours, theirs = load(whole.product).encoder.state_dict(), load(killed.product).encoder.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_rotation_keeps_cosines_and_puts_what_tells_texts_apart_first(
    backbone: str, data: Path, groups: Groups, tmp_path: Path
) -> None:
    given = settings(layout="split", widths=(1.0,), temperature=0.1, dims=(8,), query_layers="chosen")
    trainer = DenseTrainer(backbone, data, tmp_path, given, dtype="float32")
    trainer.prepare_start()
    assert groups.vectors is not None
    taught = torch.from_numpy(np.concatenate(groups.vectors).astype(np.float32))
    rotated = in_space(trainer.encoder, taught).detach()
    np.testing.assert_allclose(rotated @ rotated.T, taught @ taught.T, atol=1e-5)

    def apart(vectors: torch.Tensor) -> float:
        cut = torch.nn.functional.normalize(vectors[:, :8], dim=-1)
        return float(((cut @ cut.T) - taught @ taught.T).abs().mean())

    assert apart(rotated) < 0.7 * apart(taught)
    found = trainer.validate()
    assert found is not None and found["cosine"][-1] == pytest.approx(1, abs=1e-3)


def test_vectors_may_be_cut_to_the_dimensions_that_were_trained(backbone: str, data: Path, tmp_path: Path) -> None:
    trainer = trained(backbone, data, tmp_path / "run", dims=(8, 12), steps=20)
    held = [trainer.sampler.groups.queries[row] for row in trainer.sampler.held]
    product = str(trainer.product)
    whole = ElasticDenser(product, dtype="float32").encode_queries(held)
    cut = ElasticDenser(product, dtype="float32", dim=8).encode_queries(held)
    np.testing.assert_allclose(cut, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(ValueError, match=r"dim=9: this checkpoint's vectors have 32 dimensions.* cut to 8, 12"):
        ElasticDenser(product, dim=9)
    further = trained(product, data, tmp_path / "further", steps=2)  # keeps the space, and what it may be cut to
    assert further.checkpoint.dense.dims == (8, 12)
    ours, theirs = (one.encoder.exits["3"].projection for one in (load(product), load(further.product)))
    assert torch.equal(ours, theirs)


def test_dimensions_that_vectors_do_not_have_are_refused(backbone: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dims=\(8, 32\): vectors have 32 dimensions, so choose numbers below that"):
        trained(backbone, data, tmp_path / "run", dims=(32, 8))
    with pytest.raises(ValueError, match=r"dims=.*numbers of dimensions, from 1"):
        settings(dims=(0,))


def test_only_what_vectors_depend_on_is_trained(data: Path, tmp_path: Path) -> None:
    made = split(tmp_path / "source")
    made.widths = (1.0,)
    start = made.save(tmp_path / "start")
    trainer = trained(str(start), data, tmp_path / "run", steps=2)
    before, after = load(start), load(trainer.product)
    assert after.prefixes == before.prefixes
    same = {
        n
        for n, tensor in before.encoder.state_dict().items()
        if torch.equal(tensor.bfloat16().float(), after.encoder.state_dict()[n])
    }
    assert {"layers.0.cross", "exits.1.term", "exits.3.cosine", "embeddings.token"} <= same
    assert not {"layers.0.qkv", "exits.1.projection", "embeddings.position"} & same


def test_the_loss_is_cosine_and_divergence_as_written_down(backbone: str, data: Path, tmp_path: Path) -> None:
    given = settings(layout="split", widths=(1.0,), temperature=0.1, depths=(1,), losses={"kl": 2.0}, full_weight=3.0)
    trainer = DenseTrainer(backbone, data, tmp_path, given, dtype="float32")
    step = trainer.step_data(0)
    with torch.no_grad():
        loss, parts = trainer.module(step, [])
        made = torch.cat(
            [read_vectors(trainer.encoder, trainer.checkpoint.dense, b, 1.0, torch.float32) for b in step.full], 1
        )
    targets = torch.cat([batch.targets for batch in step.full])
    apart = (1 - (made * targets).sum(-1)).mean(1)
    taught, own = (torch.softmax(v @ step.documents.T / 0.1, -1) for v in (targets, made))
    diverging = (taught * (taught / own).log()).sum(-1).mean(1)
    expected = 3 * apart[0] + 10 * apart[1] + 2 * (0.25 * diverging[0] + 0.75 * diverging[1])
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_allclose(parts[0], apart, atol=1e-5)


def test_token_embeddings_may_be_those_of_another_checkpoint(backbone: str, data: Path, tmp_path: Path) -> None:
    made = split(tmp_path / "source")
    with torch.no_grad():
        made.encoder.embeddings.token.mul_(1.01)
    lender = made.save(tmp_path / "lender", dtype="bfloat16")
    given = settings(layout="split", widths=(1.0,), temperature=0.1, steps=2)
    trainer = DenseTrainer(backbone, data, tmp_path / "run", given, tokens=lender, dtype="float32")
    trainer.train()
    share_tokens(trainer.product, str(lender))
    assert torch.equal(load(trainer.product).encoder.embeddings.token, load(lender).encoder.embeddings.token)
    with pytest.raises(ValueError, match="is no elastic checkpoint"):
        DenseTrainer(backbone, data, tmp_path / "a", given, tokens=bare(backbone, tmp_path / "bare"))
    trained_too = settings(layout="split", widths=(1.0,), freeze_tokens=False)
    with pytest.raises(ValueError, match=r"are left as they are: leave freeze_tokens \(--train-tokens\) out"):
        DenseTrainer(backbone, data, tmp_path / "b", trained_too, tokens=lender)


def test_exits_of_no_weight_are_not_run(backbone: str, data: Path, tmp_path: Path) -> None:
    alone: dict[str, Any] = {"depths": (2,), "align_full": 0.0, "full_weight": 0.0, "document_share": 0.0}
    given = settings(layout="split", widths=(1.0,), temperature=0.1, query_layers="chosen", **alone)
    trainer = DenseTrainer(backbone, data, tmp_path / "one", given, dtype="float32")
    _, parts = trainer.module(trainer.step_data(0), [])
    assert parts.shape == (1, 1)
    trainer.train()
    assert load(trainer.product).encoder.depths == (2, 3)
    nothing = settings(layout="split", widths=(1.0,), align_full=0.0, align_exits=0.0, losses={"lce": 1.0})
    with pytest.raises(ValueError, match="no exit has any weight"):
        DenseTrainer(backbone, data, tmp_path / "none", nothing)


def test_steps_hold_the_share_of_documents_and_no_held_out_query(
    backbone: str, data: Path, groups: Groups, tmp_path: Path
) -> None:
    given = settings(layout="split", widths=(1.0, 0.5), temperature=0.1, document_share=0.25)
    sampler = DenseTrainer(backbone, data, tmp_path, given, dtype="float32").sampler
    assert groups.vectors is not None
    queries, documents = ({tuple(v) for v in vectors.astype(np.float32).tolist()} for vectors in groups.vectors)
    held = {tuple(v) for v in groups.vectors[0][groups.held_out].astype(np.float32).tolist()}
    for number in range(5):
        step = sampler.step(number)
        drawn = [tuple(v) for batch in step.full for v in batch.targets.tolist()]
        assert sum(v in documents - queries for v in drawn) == math.ceil(0.25 * step.pairs)
        assert not held & set(drawn)
        assert 0 < sum(len(batch.lengths) for batch in step.narrow) < step.pairs


def test_data_and_backbones_that_will_not_do_are_refused_before_the_first_step(
    backbone: str, prepared: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="has no vectors to learn: prepare it again with --vectors"):
        DenseTrainer(backbone, prepared, tmp_path / "a", settings(layout="split"))
    joint = elastic(tmp_path / "source").save(tmp_path / "joint")
    with pytest.raises(ValueError, match="is in joint layout, which makes no vectors"):
        DenseTrainer(joint, data, tmp_path / "b", settings(layout="split"))
    with pytest.raises(ValueError, match="query_layers='last': choose from first, chosen"):
        settings(query_layers="last")


def test_the_command_trains_and_says_where(
    backbone: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "train",
        "--stage",
        "dense",
        "--backbone",
        backbone,
        "--data",
        str(data),
        "--output",
        str(tmp_path / "run"),
    ]
    sizes = ["--steps", "2", "--groups-per-step", "2", "--group-size", "4", "--max-length", "32", "--widths", "1"]
    assert (
        main([*command, *sizes, "--max-query-length", "8", "--query-layers", "chosen", "--prefixes", "who ", "the "])
        == 0
    )
    assert f"wrote {tmp_path / 'run' / 'checkpoint'}" in capsys.readouterr().out
    made = load(tmp_path / "run" / "checkpoint")
    assert made.dense.order and made.prefixes == ("who ", "the ") and made.provenance["stage"] == "dense"
