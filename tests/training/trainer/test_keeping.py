"""The loss that holds a full model to what it was, and what is trained beside it."""

import pytest
import torch

from elasticranker.model.checkpoint import load
from elasticranker.training.data.batches import Sampler
from elasticranker.training.data.groups import Groups
from elasticranker.training.elastifying.start import with_exits
from elasticranker.training.trainer.keep_stage import CloseTrainer, ExactTrainer
from elasticranker.training.trainer.keeping import close_step, exact_step
from tests.backbones import save_backbone
from tests.training.tiny import settings

KEPT = {"self_distillation": 0.0, "bonus": 0.0, "temperature": 2.0, "losses": {"kl": 1.0, "margin_mse": 0.1}}


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def model(request, tmp_path_factory):
    """A cross-encoder whose scores are as far apart as trained ones are."""
    return save_backbone(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture
def start(model):
    return with_exits(model, (1.0, 0.5))


@pytest.fixture
def data(start, prepared):
    layout = start.pairs(max_length=32, max_query_length=8)
    return Sampler(Groups.load(prepared), layout, groups_per_step=4, group_size=4).step(0)


def close(start, **changed):
    return close_step(start.encoder.train(), settings(**KEPT | {"full_weight": 1.0} | changed), torch.float32)


def test_the_start_keeps_the_head_at_full_depth_and_has_exits_everywhere_else(model, start):
    original = load(model).encoder
    kinds = [start.encoder.exits[str(depth)].kind for depth in start.encoder.depths]
    assert kinds == ["interaction"] * start.encoder.shape.layers + ["cls"]
    for name, value in start.encoder.state_dict().items():
        if not name.startswith("exits.") or name.startswith(f"exits.{start.encoder.shape.layers}."):
            assert torch.equal(value, original.state_dict()[name]), name


def test_an_elastic_checkpoint_or_one_without_a_head_is_refused(start, tmp_path):
    start.save(tmp_path / "elastic")
    with pytest.raises(ValueError, match="is elastic already"):
        with_exits(tmp_path / "elastic", (1.0,))
    with pytest.raises(ValueError, match="without a ranking head"):
        with_exits(save_backbone(tmp_path / "bare", labels=None), (1.0,))


def test_a_full_model_that_is_the_original_still_has_no_loss_but_its_exits_have(start, data):
    total, parts = close(start)(data, [])
    assert parts[0, -1] == pytest.approx(0.0, abs=1e-5)
    assert (parts[0, :-1] > 0.01).all()
    weights = torch.tensor([0.25] * 4)
    assert total.item() == pytest.approx(float((weights * parts[0]).sum()), abs=1e-4)  # nothing from the alignment


def test_a_full_model_that_moved_pays_for_its_scores_and_for_the_state_that_its_head_reads(start, data):
    step = close(start)
    with torch.no_grad():  # another state under the same scores: the head sees to that
        head = step.encoder.exits[str(step.encoder.shape.layers)]
        last = step.encoder.layer(step.encoder.shape.layers - 1)
        last.norm2_bias += 0.5
        head.dense_bias -= head.dense @ torch.full((32,), 0.5)
    held, parts = step(data, [])
    assert parts[0, -1] == pytest.approx(0.0, abs=1e-4)
    assert held.item() - float((0.25 * parts[0]).sum()) > 0.1
    with torch.no_grad():
        head.head += 1.0
    assert step(data, [])[1][0, -1] > 0.01


def test_the_scale_of_the_scores_is_kept_whatever_the_temperature(start, data):
    """Against a target at another temperature the model's own scores would have a loss, and would shrink."""
    for temperature in (0.5, 8.0):
        assert close(start, temperature=temperature)(data, [])[1][0, -1] == pytest.approx(0.0, abs=1e-4)


def test_narrower_widths_learn_from_the_original_too(start, data):
    step = close(start)
    total, parts = step(data, [0.5])
    assert parts.shape == (2, 4)
    assert (parts[1] > 0.001).all()
    total.backward()
    assert all(parameter.grad is None for parameter in step.original.parameters())


def test_exact_trains_the_readouts_below_full_depth_alone(start, data):
    step = exact_step(start.encoder, settings(**KEPT | {"widths": (1.0,)}), torch.float32)
    step(data, [])[0].backward()
    trained = {name for name, value in step.encoder.named_parameters() if value.grad is not None}
    names = ("term", "term_bias", "cls", "scale", "bias")
    assert trained == {f"exits.{depth}.{name}" for depth in range(3) for name in names}


@pytest.mark.parametrize(("trainer", "moves"), [(CloseTrainer, True), (ExactTrainer, False)])
def test_what_a_run_changes(model, prepared, tmp_path, trainer, moves):
    widths = (1.0, 0.5) if moves else (1.0,)
    place = with_exits(model, widths).save(tmp_path / "start")
    changed = {"widths": widths, "importance_steps": 1}
    run = trainer(place, prepared, tmp_path / "run", settings(**KEPT | changed), dtype="float32")
    before = {name: value.clone() for name, value in run.encoder.state_dict().items()}
    made = load(run.train() / "checkpoint").encoder.state_dict()
    full = [name for name in before if not name.startswith("exits.") or name.startswith("exits.3.")]
    assert all(torch.equal(made[name], before[name]) for name in full) is not moves
    assert not torch.equal(made["exits.1.term"], before["exits.1.term"])


def test_the_head_learns_as_slowly_as_the_layers(start, prepared, tmp_path):
    place = start.save(tmp_path / "start")
    run = CloseTrainer(place, prepared, tmp_path / "run", settings(**KEPT), dtype="float32")
    rates = {run._peak(f"exits.{depth}.{name}") for depth, name in ((3, "head"), (3, "dense"))}
    assert rates == {run._peak("layers.0.qkv")} == {1e-3}
    assert run._peak("exits.2.term") == pytest.approx(1e-2)
