"""What is said before the work begins."""

import pytest

from elasticranker.training.elastifying.forecast import Speed, as_text, duration, forecast, measure
from elasticranker.training.elastifying.settings import ElastifySettings
from elasticranker.training.elastifying.start import with_exits
from tests.backbones import save_backbone

SETTINGS = ElastifySettings(queries=1000, training={"steps": 100})
RUN = SETTINGS.run(max_length=512)


def lines(done=()):
    return forecast(Speed(0.001, 0.01), SETTINGS, RUN, queries=(0, 1000), tuning=(100, 50), done=done)


def test_every_phase_is_told_with_its_time():
    assert as_text("elastify it:", lines()).splitlines() == [
        "elastify it:",
        "  candidates  1,000 queries made of documents to train on and 150 queries (50 made of documents) to tune on, "
        "by BM25, whose index is built first",
        "  scores      32,000 pairs by the model itself: about 32 s",
        "  training    100 steps of 128 pairs, every exit and 3 narrower widths: about 2 min",
        "  tuning      ladder and calibration, 15,000 pairs: about 62 s",
        "in all about 4 min on this machine, and the search for candidates",
    ]


def test_what_is_done_takes_no_time():
    told = as_text("elastify it:", lines(done={"candidates", "scores"})).splitlines()
    assert told[1].endswith("whose index is built first (done)")
    assert told[2].endswith("by the model itself (done)")
    assert told[-1] == "in all about 3 min on this machine"


@pytest.mark.parametrize(("amount", "said"), [(0.2, "1 s"), (89, "89 s"), (600, "10 min"), (5400, "1.5 h")])
def test_a_duration_is_said_as_people_do(amount, said):
    assert duration(amount) == said


@pytest.mark.parametrize("keep_full", ["close", "exact"])
def test_measuring_leaves_the_start_as_it_was(tmp_path, keep_full):
    settings = ElastifySettings(keep_full=keep_full, dtype="float32")
    start = with_exits(save_backbone(tmp_path), settings.widths)
    before = {name: value.clone() for name, value in start.encoder.state_dict().items()}
    speed = measure(start, ["the red fox", "a river bank"], settings.run(max_length=start.longest), settings)
    assert min(speed.scoring, speed.training) > 0
    assert all((start.encoder.state_dict()[name] == value).all() for name, value in before.items())
    assert all(value.grad is None and value.requires_grad for value in start.encoder.parameters())
