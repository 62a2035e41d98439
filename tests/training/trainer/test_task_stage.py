"""Fine-tuning on a task: every sub-network learns it, and a run that was killed goes on."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from elasticranker import ElasticRanker
from elasticranker.model.checkpoint import load
from elasticranker.model.classifier import ElasticClassifier
from elasticranker.planning.subnet import SubNet
from elasticranker.training.trainer.task_stage import TaskTrainer
from elasticranker.training.trainer.task_step import TaskLoss
from tests.backbones import save_backbone
from tests.training.examples import KINDS, made_examples
from tests.training.tiny import settings

LEARNS = {"steps": 60, "learning_rate": 3e-3, "average": 0.9, "self_distillation": 0.3, "narrow_share": 0.5}


@pytest.fixture
def trainer(backbone, tmp_path):
    """Makes a trainer of the run in `tmp_path`/run (or another folder)."""

    def make(folder="run", *, kind="texts", start=backbone, changed=None, **options):
        return TaskTrainer(
            start, made_examples(kind=kind), tmp_path / folder, settings(**changed or {}), dtype="float32", **options
        )

    return make


class Killed(Exception):
    """Stands for kill -9."""


def kill(done):
    if done == 3:
        raise Killed


@pytest.mark.parametrize("kind", KINDS)
def test_every_sub_network_learns_the_task(trainer, kind):
    run = trainer(kind=kind, changed=LEARNS)
    run.train()
    classifier = ElasticClassifier(run.product, dtype="float32")
    fresh = made_examples(kind=kind, seed=1)
    for width in (1.0, 0.5):
        for depth, logits in classifier.every(fresh.texts, width).items():
            right = (
                np.corrcoef(logits[:, 0], fresh.labels)[0, 1]
                if kind == "regression"
                else (logits.argmax(1) == fresh.labels).mean() * 2 - 1
            )
            assert right > 0.4, (depth, width)  # 0 by chance


def test_a_run_that_was_killed_ends_with_the_same_weights(trainer, tmp_path):
    trainer("straight").train()
    with pytest.raises(Killed):
        trainer("killed", save_every=0, on_step=kill).train()
    resumed = trainer("killed", resume=True)
    assert resumed.progress.step == 3
    resumed.train()
    straight, killed = (load_file(tmp_path / name / "last.safetensors") for name in ("straight", "killed"))
    assert all(torch.equal(straight[name], killed[name]) for name in straight)
    with pytest.raises(ValueError, match=r"belongs to another job .layers: 'all' there, '2' here"):
        trainer("killed", resume=True, layers=2)
    with pytest.raises(ValueError, match=r"belongs to another job .data"):
        trainer("killed", resume=True, kind="pairs")


def test_the_classifier_is_a_checkpoint_like_others_but_no_reranker(trainer, tmp_path):
    run = trainer(changed={"depths": (1,)})
    run.train()
    made = load(run.product)
    assert made.encoder.depths == (1, 3) and made.widths == (1.0, 0.5) and made.longest == 32
    assert (made.provenance["examples"], made.provenance["classes"]) == (48, 2)
    made.save(tmp_path / "again")
    texts = made_examples(seed=2).texts
    first, second = (ElasticClassifier(folder, dtype="float32") for folder in (run.product, tmp_path / "again"))
    assert np.array_equal(first.logits(texts, first.full), second.logits(texts, SubNet(3)))
    with pytest.raises(ValueError, match="is a classifier, which gives no relevance scores"):
        ElasticRanker(run.product).warm_up()
    with pytest.raises(ValueError, match=r"depth=2: .*after layers \(1, 3\)"):
        first.logits(texts, SubNet(2))
    with pytest.raises(ValueError, match=r"width=0.25: .*trained at \(1.0, 0.5\)"):
        first.every(texts, 0.25)
    with pytest.raises(ValueError, match="tokens=8: a classifier reads all of a text"):
        first.logits(texts, SubNet(3, tokens=8))


def test_a_static_model_is_the_backbone_cut_to_its_first_layers(trainer, backbone):
    run = trainer(layers=2, changed={"depths": (2,), "widths": (1.0,)})
    whole = trainer("whole")
    assert run.encoder.depths == (2,) and run.encoder.shape.layers == 2
    for name, value in run.encoder.layers.state_dict().items():
        assert torch.equal(value, whole.encoder.layers.state_dict()[name])
    run.train()
    assert load(run.product).config.num_hidden_layers == 2
    with pytest.raises(ValueError, match=r"layers=4: the backbone has 3 layers, so choose from 1 to 3"):
        trainer("other", layers=4)
    with pytest.raises(ValueError, match=r"depths=\(5,\): the backbone has 3 layers"):
        trainer("other", changed={"depths": (5,)})


def test_a_regression_starts_from_the_mean_of_its_labels(trainer):
    run = trainer(kind="regression")
    mean = float(made_examples(kind="regression").labels.mean())
    assert mean != 0 and all(
        readout.head_bias.tolist() == pytest.approx([mean]) for readout in run.encoder.exits.values()
    )
    run = trainer("classes")
    assert all(readout.head_bias.tolist() == [0, 0] for readout in run.encoder.exits.values())


def test_another_trainers_mixed_precision_is_not_ours(trainer):
    AcceleratorState._reset_state()
    Accelerator(mixed_precision="bf16", cpu=True)  # as transformers' Trainer leaves it in a notebook
    run = trainer()
    assert run.accelerator.mixed_precision == "no"
    run.train()
    assert run.product.exists()


def test_a_bare_encoder_with_other_names_is_a_backbone_too(trainer, tmp_path):
    run = trainer(start=save_backbone(tmp_path / "electra", "electra", labels=None))
    run.train()
    assert ElasticClassifier(run.product, dtype="float32").labels == 2


def test_losses_are_those_of_the_task():
    logits, labels = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([1.0, 1.0])
    expected = -(logits.softmax(-1)[torch.arange(2), 1].log()).mean()
    torch.testing.assert_close(TaskLoss(2).taught(logits, labels), expected)
    teacher = torch.tensor([[0.5, 0.5], [1.0, -1.0]], requires_grad=True)
    p, q = teacher.softmax(-1), logits.softmax(-1)
    wrong = logits.clone().requires_grad_()
    loss = TaskLoss(2).imitated(wrong, teacher)
    torch.testing.assert_close(loss, (p * (p / q).log()).sum(-1).mean())
    loss.backward()
    assert teacher.grad is None and wrong.grad is not None
    numbers = torch.tensor([[1.0], [3.0]])
    assert TaskLoss(1).taught(numbers, torch.tensor([1.0, 1.0])).item() == 2.0
    assert TaskLoss(1).imitated(numbers, numbers + 1).item() == 1.0
