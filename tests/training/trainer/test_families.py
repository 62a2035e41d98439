"""Every family of backbones becomes an elastic checkpoint: trained a few steps, stored, loaded, ranked with."""

import pandas as pd
import pytest
import torch

from elasticranker import ElasticRanker
from elasticranker.model.checkpoint import load
from elasticranker.training.data.batches import Sampler
from elasticranker.training.trainer.align_stage import AlignmentTrainer
from elasticranker.training.trainer.keeping import taught_by
from elasticranker.training.trainer.rank_stage import ElasticTrainer
from tests.backbones import FAMILIES, save_backbone
from tests.planning.test_cost import assert_counted, engine_of
from tests.training.tiny import make_groups, settings

NEW = [family for family in FAMILIES if family not in ("bert", "electra", "roberta", "xlm-roberta")]
FRAME = pd.DataFrame({"qid": "1", "query": "river bank", "docno": ["a", "b"], "text": ["the river", "a lazy dog " * 9]})


@pytest.mark.parametrize("family", NEW)
def test_it_is_trained_and_stored_and_ranks_under_a_budget(prepared, tmp_path, family):
    start = save_backbone(tmp_path / "backbone", family)
    trainer = ElasticTrainer(start, prepared, tmp_path / "run", settings(freeze_tokens=False), dtype="float32")
    before = {name: value.clone() for name, value in trainer.encoder.state_dict().items()}
    trainer.train()
    made = load(tmp_path / "run" / "checkpoint")
    after = made.encoder.state_dict()
    assert after.keys() == before.keys()
    still = {name for name in after if torch.equal(after[name].float(), before[name])}
    assert all(name.endswith("relative") for name in still if not name.startswith("exits.")), still
    ranked = ElasticRanker(str(tmp_path / "run" / "checkpoint"), budget="50%", dtype="float32", trace=True)(FRAME)
    assert sorted(ranked["docno"]) == ["a", "b"]
    assert_counted(engine_of(made), made.plans().plan(0.4), 0.4)


@pytest.mark.parametrize("family", ["mpnet", "albert", "modernbert"])
def test_it_is_aligned_with_a_larger_one_and_is_a_backbone_again(prepared, tmp_path, family):
    small = save_backbone(tmp_path / "small", family)
    large = save_backbone(tmp_path / "large", family, layers=4)
    chosen = settings(relation_heads=4, freeze_tokens=False)
    trainer = AlignmentTrainer(small, large, prepared, tmp_path / "aligned", chosen, dtype="float32")
    before = trainer.encoder.layer(0).qkv.clone()
    trainer.train()
    again = ElasticTrainer(str(tmp_path / "aligned" / "encoder"), prepared, tmp_path / "run", settings())
    assert not torch.equal(again.encoder.layer(0).qkv, before)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_what_is_kept_is_the_vector_that_the_head_reads(tmp_path, family):
    checkpoint = load(save_backbone(tmp_path / "backbone", family))
    pairs = checkpoint.pairs(max_length=32, max_query_length=8)
    data = Sampler(make_groups(tmp_path / "source"), pairs, groups_per_step=2, group_size=4).step(0)
    taught = taught_by(checkpoint.encoder, data, torch.float32)
    for batch in taught.full:
        scores = checkpoint.encoder.exits["3"].of_vectors(batch.vectors)[:, 0]
        torch.testing.assert_close(taught.teacher.flatten()[batch.positions], scores)
