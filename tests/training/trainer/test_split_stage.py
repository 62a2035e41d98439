"""Training in split layout: it starts as its teacher, and aligned vectors keep the full model there."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from elasticranker.model.checkpoint import load
from elasticranker.training.data.groups import Groups
from elasticranker.training.data.sources import read_sources
from elasticranker.training.preparing import PrepareSettings, prepare
from elasticranker.training.teachers.bi_encoder import BiEncoderTeacher
from elasticranker.training.trainer.rank_stage import ElasticTrainer
from elasticranker.training.trainer.step import read_alone, read_exits
from tests.training.tiny import OverlapTeacher, settings, write_source

PREFIXES = ("who ", "the ")
SPLIT = {"layout": "split", "prefixes": PREFIXES, "temperature": 0.02, "importance_steps": 0}


@pytest.fixture(scope="module")
def aligned(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared by the backbone as a bi-encoder, its vectors with it."""
    folder = tmp_path_factory.mktemp("aligned")
    teacher = BiEncoderTeacher(
        backbone, query_prefix=PREFIXES[0], document_prefix=PREFIXES[1], max_length=32, dtype=torch.float32
    )
    sizes = PrepareSettings(candidates=8, teacher_candidates=3, random_candidates=1, held_out=4, vectors=True)
    prepare(read_sources(write_source(folder / "source")), teacher, sizes).save(folder / "prepared", {"teacher": "me"})
    return folder / "prepared"


def trainer(backbone: str, data: Path, output: Path, **changed: object) -> ElasticTrainer:
    return ElasticTrainer(backbone, data, output, settings(**(SPLIT | changed)), dtype="float32")


def test_vectors_are_kept_text_by_text(aligned: Path) -> None:
    groups = Groups.load(aligned)
    assert groups.vectors is not None
    queries, documents = groups.vectors
    assert queries.shape == (len(groups.queries), 32) and documents.shape == (len(groups.documents), 32)
    cosines = np.einsum("nh,nch->nc", queries.astype(float), documents[np.maximum(groups.candidates, 0)].astype(float))
    present = groups.candidates >= 0
    np.testing.assert_allclose(cosines[present], groups.scores[present].astype(float), atol=5e-3)


def test_a_teacher_of_scores_alone_has_no_vectors_to_keep(tmp_path: Path) -> None:
    class Scores(OverlapTeacher):
        def read(self, *arguments):
            reading = super().read(*arguments)
            reading.vectors = lambda: None
            return reading

    with pytest.raises(ValueError, match="gives scores alone; name a bi-encoder"):
        prepare(read_sources(write_source(tmp_path)), Scores(), PrepareSettings(vectors=True))


def test_with_its_texts_apart_it_starts_as_its_teacher(backbone: str, aligned: Path, tmp_path: Path) -> None:
    made = trainer(backbone, aligned, tmp_path / "run")
    with torch.no_grad():
        for layer in made.encoder.layers:
            layer.cross.fill_(-1e4)
        data = made.sampler.step(0)
        read = read_exits(made.encoder, data.full, data.mask.numel(), 1.0, torch.float32)
    assert float(read.misaligned[-1]) < 1e-3  # float16 vectors
    full = read.scores[-1].view(data.mask.shape)
    torch.testing.assert_close(full[data.mask], 50 * data.teacher[data.mask], atol=0.1, rtol=0)


def test_alignment_is_what_keeps_the_full_model(backbone: str, aligned: Path, tmp_path: Path) -> None:
    distances = {}
    for name, weights in {"aligned": (30.0, 3.0), "free": (0.0, 0.0)}.items():
        changed = {"align_full": weights[0], "align_exits": weights[1], "steps": 30, "learning_rate": 3e-3}
        made = trainer(backbone, aligned, tmp_path / name, **changed)
        made.train()
        data = made.sampler.step(1000)
        with torch.no_grad():
            read = read_exits(made.encoder, data.full, data.mask.numel(), 1.0, torch.float32)
        distances[name] = float(read.misaligned[-1])
    assert distances["aligned"] < 0.5 * distances["free"]


def test_the_checkpoint_keeps_layout_and_prefixes_and_is_gone_on_from(
    backbone: str, aligned: Path, tmp_path: Path
) -> None:
    made = trainer(backbone, aligned, tmp_path / "run")
    product = load(made.train() / "checkpoint")
    assert product.encoder.shape.split
    assert product.prefixes == PREFIXES
    again = trainer(str(tmp_path / "run" / "checkpoint"), aligned, tmp_path / "again")
    assert again.checkpoint.prefixes == PREFIXES
    assert len(again.encoder.layers) == len(product.encoder.layers) and again.encoder.shape.split


def test_deep_layers_and_biases_have_learning_rates_of_their_own(backbone: str, aligned: Path, tmp_path: Path) -> None:
    made = trainer(backbone, aligned, tmp_path / "run", deep_rate=0.5, cross_rate=20.0, learning_rate=1.0)
    peaks = {
        name: group["peak"]
        for group in made.optimiser.param_groups
        for name, parameter in made.trained.items()
        if any(parameter is member for member in group["params"])
    }
    assert [peaks[f"layers.{index}.up"] for index in range(3)] == [1.0, 0.75, 0.5]
    assert peaks["layers.2.cross"] == 20.0
    assert peaks["exits.1.projection"] == 10.0


def test_data_without_vectors_are_refused(backbone: str, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no vectors to align to: prepare it again with --vectors"):
        trainer(backbone, prepared, tmp_path / "run")
    assert trainer(backbone, prepared, tmp_path / "other", align_full=0.0, align_exits=0.0).encoder.shape.split


def test_prefixes_that_would_be_ignored_are_refused() -> None:
    with pytest.raises(ValueError, match="joint layout have none; give layout='split' too"):
        settings(prefixes=PREFIXES)


@pytest.mark.parametrize(
    "alone", [{"lone_queries": 6}, {"lone_documents": 6}, {"lone_queries": 2, "lone_documents": 4}]
)
def test_texts_alone_end_where_the_teacher_puts_them(
    backbone: str, aligned: Path, tmp_path: Path, alone: dict[str, int]
) -> None:
    """Whatever the positions of documents beside queries."""
    made = trainer(backbone, aligned, tmp_path / "run", **alone, groups_per_step=2, document_start=5)
    data = made.sampler.step(0)
    assert sum(len(batch.ids) for batch in data.alone) == 6
    distances = read_alone(made.encoder, data.alone, 1.0, torch.float32)
    assert len(distances) == len(made.encoder.depths)
    assert float(distances[-1]) < 1e-3  # untrained, it is the teacher


@pytest.mark.parametrize("kind", ["lone_queries", "lone_documents"])
def test_texts_alone_are_trained_with(backbone: str, aligned: Path, tmp_path: Path, kind: str) -> None:
    made = trainer(backbone, aligned, tmp_path / "run", **{kind: 6})
    data = made.step_data(0)
    far = data._replace(alone=[batch._replace(vectors=-batch.vectors) for batch in data.alone])
    assert float(made.module(far, [])[0]) > float(made.module(data, [])[0])


def test_queries_alone_need_split_layout_and_vectors(backbone: str, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^lone_queries=4: pairs in joint layout"):
        settings(lone_queries=4)
    made = trainer(backbone, prepared, tmp_path / "run", align_full=0.0, align_exits=0.0, lone_queries=4)
    with pytest.raises(ValueError, match=r"lone_queries=4 needs .* data with vectors"):
        made.step_data(0)


def test_a_shallow_step_leaves_the_upper_half_as_it_is(backbone: str, aligned: Path, tmp_path: Path) -> None:
    made = trainer(backbone, aligned, tmp_path / "run", shallow=0.5)
    half = made.encoder.shape.layers // 2
    steps = {made.settings.is_shallow(number): made.step_data(number) for number in range(20)}
    assert steps[True].deepest == half and steps[False].deepest is None
    loss, parts = made.module(steps[True], [0.5])
    assert parts.shape == (2, sum(depth <= half for depth in made.encoder.depths))
    loss.backward()
    for index in range(made.encoder.shape.layers):
        gradients = [parameter.grad is not None for parameter in made.encoder.layer(index).parameters()]
        assert any(gradients) == (index < half)


def test_layers_that_read_the_texts_apart_stay_so(backbone: str, aligned: Path, tmp_path: Path) -> None:
    product = load(trainer(backbone, aligned, tmp_path / "run", first_cross=2, shallow=0.5).train() / "checkpoint")
    assert product.encoder.shape.apart == 2


def test_exits_start_where_least_squares_puts_them(backbone: str, aligned: Path, tmp_path: Path) -> None:
    made = trainer(backbone, aligned, tmp_path / "run", fit_steps=12, lone_queries=8, first_cross=99)
    unseen = made.sampler.step(10_000)

    def losses() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            read = read_exits(made.encoder, unseen.full, unseen.mask.numel(), 1.0, torch.float32)
            return read.misaligned, made.module(unseen, [])[1][0]

    untrained, before = losses()
    made.prepare_start()
    fitted, after = losses()
    assert (fitted[:-1] < untrained[:-1]).all()
    assert fitted[-1] == untrained[-1]  # the full model's vectors aren't projected
    assert after[:-1].mean() < before[:-1].mean()


def test_a_backbone_whose_vectors_are_no_means_is_refused(backbone: str, aligned: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(backbone, tmp_path / "cls")
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    with pytest.raises(ValueError, match="makes vectors by cls, but split layout compares the means"):
        trainer(str(folder), aligned, tmp_path / "run")


@pytest.fixture(scope="module")
def joint(backbone: str, aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained from the backbone in joint layout, heads and neurons in an order of their own."""
    output = tmp_path_factory.mktemp("joint")
    return ElasticTrainer(backbone, aligned, output / "run", settings(), dtype="float32").train() / "checkpoint"


def test_a_head_start_takes_the_lower_layers_and_leaves_the_last_one_the_backbones(
    backbone: str, joint: Path, aligned: Path, tmp_path: Path
) -> None:
    made = trainer(backbone, aligned, tmp_path / "run", fit_steps=0, importance_steps=2)
    plain = copy.deepcopy(made.encoder)
    started = ElasticTrainer(
        backbone, aligned, tmp_path / "started", settings(**(SPLIT | {"fit_steps": 0})), lower=joint, dtype="float32"
    )
    started.prepare_start()
    encoder, trained = started.encoder, load(joint).encoder
    torch.testing.assert_close(encoder.layer(0).qkv, trained.layer(0).qkv)
    assert not torch.equal(encoder.layer(0).qkv, plain.layer(0).qkv)
    last = encoder.shape.layers - 1
    torch.testing.assert_close(  # in another order, which changes no sum
        encoder.layer(last).up.sum(0), plain.layer(last).up.sum(0), atol=1e-5, rtol=0
    )
    for name, value in trained.exits["1"].named_parameters():
        assert torch.equal(getattr(encoder.exits["1"], name), value)
    assert not encoder.layer(0).cross.any() and (encoder.layer(last).cross == -4).all()


def test_a_head_start_gives_as_many_layers_as_it_is_asked_for(
    backbone: str, joint: Path, aligned: Path, tmp_path: Path
) -> None:
    """With attention between the texts open in them: all but the last here."""
    trained = load(joint).encoder
    last = trained.shape.layers - 1
    asked = settings(**(SPLIT | {"fit_steps": 0, "lower_layers": last}))
    started = ElasticTrainer(backbone, aligned, tmp_path / "run", asked, lower=joint, dtype="float32")
    for index in range(last):
        torch.testing.assert_close(started.encoder.layer(index).qkv, trained.layer(index).qkv)
        assert not started.encoder.layer(index).cross.any()
    assert (started.encoder.layer(last).cross == -4).all()


def test_a_head_start_of_all_layers_or_of_nothing_is_refused(
    backbone: str, joint: Path, aligned: Path, tmp_path: Path
) -> None:
    layers = load(joint).encoder.shape.layers
    with pytest.raises(ValueError, match=f"lower_layers={layers}: the backbone has {layers} layers"):
        ElasticTrainer(backbone, aligned, tmp_path / "all", settings(**SPLIT, lower_layers=layers), lower=joint)
    with pytest.raises(ValueError, match=r"lower_layers=1: .* give lower"):
        ElasticTrainer(backbone, aligned, tmp_path / "none", settings(**SPLIT, lower_layers=1))
    with pytest.raises(ValueError, match="lower_layers=-1"):
        settings(**SPLIT, lower_layers=-1)


def test_its_readouts_stay_where_they_are_when_exits_are_fitted(
    backbone: str, joint: Path, aligned: Path, tmp_path: Path
) -> None:
    """Of exits below the last; projections, which it has none of, are fitted."""
    started = ElasticTrainer(
        backbone, aligned, tmp_path / "run", settings(**(SPLIT | {"fit_steps": 4})), lower=joint, dtype="float32"
    )
    started.prepare_start()
    trained = load(joint).encoder
    for depth, readout in trained.exits.items():
        made = started.encoder.exits[depth]
        if int(depth) < started.encoder.shape.layers:
            assert torch.equal(made.scale, readout.scale) and not made.cosine.any()
            assert not torch.equal(made.projection, torch.eye(len(made.projection)))


def test_the_story_of_a_head_start_is_kept(backbone: str, joint: Path, aligned: Path, tmp_path: Path) -> None:
    """Its data, too: some of it may not be used for everything."""
    earlier = load(joint)
    told = earlier.provenance | {"sources": {"medquad": 7}}
    head_start = replace(earlier, provenance=told).save(tmp_path / "earlier")
    run = ElasticTrainer(backbone, aligned, tmp_path / "run", settings(**SPLIT), lower=head_start, dtype="float32")
    story = load(run.train() / "checkpoint").provenance
    assert story["before"]["done"] == earlier.provenance["done"]
    assert story["sources"] == {"medquad": 7} | earlier.provenance["sources"]


def test_a_head_start_from_another_backbone_is_refused(
    backbone: str, aligned: Path, joint: Path, tmp_path: Path
) -> None:
    other = load(joint)
    with torch.no_grad():
        for parameter in other.encoder.parameters():
            parameter.normal_()
    foreign = other.save(tmp_path / "foreign")
    with pytest.raises(ValueError, match="name one that was trained from it"):
        ElasticTrainer(backbone, aligned, tmp_path / "run", settings(**SPLIT), lower=foreign, dtype="float32")
    split = replace(other, encoder=trainer(backbone, aligned, tmp_path / "run").encoder).save(tmp_path / "split")
    with pytest.raises(ValueError, match="in split layout already: go on from it as the backbone"):
        ElasticTrainer(backbone, aligned, tmp_path / "run", settings(**SPLIT), lower=split, dtype="float32")
    with pytest.raises(ValueError, match="a head start is for a new run in split layout"):
        ElasticTrainer(backbone, aligned, tmp_path / "run", settings(), lower=joint, dtype="float32", resume=True)
