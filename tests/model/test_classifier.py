"""An elastic classifier's exits: what they say, on what that depends, and what it costs."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from elasticranker.model.checkpoint import Checkpoint
from elasticranker.model.classifier import ElasticClassifier
from elasticranker.model.encoder import Encoder
from elasticranker.model.readout import MeanReadout
from elasticranker.planning.subnet import SubNet
from elasticranker.routing import JointInference, exit_of
from tests.planning.test_cost import elastic

TEXTS = ["the river bank", "a cat", "money flows to the bank of the river " * 9, "", "how do i copy a whole folder"]
PAIRS = [("what is a river", "water flows deep"), ("who was the fox", "the sun"), ("one", "two three four " * 5)]


def made(tmp_path, labels=3, family="bert", pooler="tanh"):
    """A random elastic classifier of three layers, four widths, an exit after every layer and after none."""
    reranker = elastic(tmp_path, family)
    torch.manual_seed(2)
    encoder = Encoder(reranker.encoder.shape, {depth: MeanReadout(32, labels, pooler) for depth in range(4)})
    for readout in encoder.exits.values():
        torch.nn.init.normal_(readout.head)
    own = {name: value for name, value in reranker.encoder.state_dict().items() if not name.startswith("exits.")}
    encoder.load_state_dict(own, strict=False)
    return Checkpoint(encoder.eval(), reranker.tokenizer, reranker.config, reranker.widths, max_length=40)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return ElasticClassifier(made(tmp_path_factory.mktemp("classifier")), dtype="float32")


@pytest.mark.parametrize("family", ["bert", "electra", "roberta"])
@pytest.mark.parametrize("inputs", [TEXTS, PAIRS], ids=["texts", "pairs"])
@pytest.mark.parametrize("pooler", ["tanh", None])
def test_exits_cost_what_torch_counts(tmp_path, family, inputs, pooler):
    classifier = ElasticClassifier(made(tmp_path, family=family, pooler=pooler), dtype="float32", batch_size=64)
    for subnet in (SubNet(0), SubNet(1), SubNet(2, 0.5), SubNet(3)):
        with FlopCounterMode(display=False) as counter:
            classifier.logits(inputs, subnet)
        assert sum(classifier.flops(inputs, subnet)) == counter.get_total_flops() > 0


def test_full_logits_are_those_of_the_hugging_face_encoder_and_the_mean_of_its_states(tmp_path):
    from transformers import AutoModel

    checkpoint = made(tmp_path)
    theirs = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    readout = checkpoint.encoder.exits["3"]
    for pair, logits in zip(
        PAIRS, ElasticClassifier(checkpoint, dtype="float32").logits(PAIRS, SubNet(3)), strict=True
    ):
        with torch.no_grad():
            read = checkpoint.tokenizer(*pair, return_tensors="pt", truncation=True, max_length=40)
            mean = theirs(**read).last_hidden_state[0].mean(0)
            expected = torch.tanh(readout.dense @ mean + readout.dense_bias) @ readout.head.T + readout.head_bias
        assert logits == pytest.approx(expected.numpy(), abs=1e-4)


def test_logits_depend_on_the_text_alone(classifier):
    together = classifier.logits(TEXTS, SubNet(3, 0.5))
    alone = [classifier.logits([text], SubNet(3, 0.5))[0] for text in TEXTS]
    assert together == pytest.approx(np.stack(alone), abs=1e-5)
    assert classifier.logits(TEXTS[::-1], SubNet(3, 0.5))[::-1] == pytest.approx(together, abs=1e-5)


def test_one_pass_gives_every_depth(classifier):
    every = classifier.every(TEXTS, 0.5)
    assert sorted(every) == [0, 1, 2, 3]
    for depth, logits in every.items():
        assert logits == pytest.approx(classifier.logits(TEXTS, SubNet(depth, 0.5)), abs=1e-5)
    assert classifier.logits([], SubNet(1)).shape == (0, 3)


def test_exits_are_black_boxes_of_joint_inference(classifier):
    swift, super = exit_of(classifier, 1, 0.5), exit_of(classifier, 3)
    joint = JointInference(swift, super, super_share=0.4)
    outputs = joint(TEXTS)
    assert outputs.to_super.sum() == 2
    answers = np.where(outputs.to_super, super(TEXTS).predictions, swift(TEXTS).predictions)
    assert outputs.predictions == answers.tolist()
    joint.calibrate(TEXTS, budget="60%", swift_cost=swift.flops, super_cost=super.flops)
    spent = sum(swift.flops(TEXTS)) + sum(
        cost for cost, there in zip(super.flops(TEXTS), joint(TEXTS).to_super, strict=True) if there
    )
    assert spent <= 0.6 * sum(super.flops(TEXTS))
    assert repr(swift) == "exit_of(..., 1, 0.5)"


def test_what_is_no_classifier_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is a regression: one number has no energy"):
        exit_of(made(tmp_path, labels=1), 1)
    with pytest.raises(ValueError, match="is a reranker: give a classifier"):
        exit_of(elastic(tmp_path), 1)
    with pytest.raises(ValueError, match="depth=7"):
        exit_of(made(tmp_path), 7)
    with pytest.raises(ValueError, match="labels=0"):
        MeanReadout(32, 0)
