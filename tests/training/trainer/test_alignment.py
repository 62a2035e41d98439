"""Relations by hand and by what must hold; the stage that teaches them, its resumption and its product."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from elasticranker.cli import main
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.training.data.texts import TextSampler, read_texts
from elasticranker.training.trainer.align_stage import AlignmentTrainer, aligned_depths
from elasticranker.training.trainer.alignment import relation_loss, relations
from tests.backbones import WORDS, save_backbone, tokenizer
from tests.training import tiny

SEEDS = st.integers(0, 10_000)


def vectors(seed: int, size: int, batch: int = 2, tokens: int = 5) -> torch.Tensor:
    return torch.randn(3, batch, tokens, size, generator=torch.Generator().manual_seed(seed))


@given(SEEDS)
@settings(max_examples=10)
def test_relations_are_softmaxes_of_scaled_dot_products_over_the_tokens_there_are(seed):
    made, lengths = vectors(seed, size=6), torch.tensor([5, 3])
    found = relations(made, lengths, heads=2).exp()
    for kind in range(3):
        for text, length in enumerate(lengths.tolist()):
            for head in range(2):
                part = made[kind, text, :length, 3 * head : 3 * head + 3]
                expected = torch.softmax(part @ part.T / 3**0.5, -1)
                torch.testing.assert_close(found[kind, text, head, :length, :length], expected)
                assert not found[kind, text, head, :, length:].any()


@given(SEEDS)
@settings(max_examples=10)
def test_the_loss_is_the_mean_divergence_over_heads_and_tokens_summed_over_kinds(seed):
    lengths = torch.tensor([5, 3])
    student = relations(vectors(seed, size=4), lengths, heads=2)
    teacher = relations(vectors(seed + 1, size=12), lengths, heads=2)  # of another size
    loss = relation_loss(student, teacher, lengths)
    for text, length in enumerate(lengths.tolist()):
        rows = [
            torch.sum(
                teacher[kind, text, head, row, :length].exp() * (teacher - student)[kind, text, head, row, :length]
            )
            for kind in range(3)
            for head in range(2)
            for row in range(length)
        ]
        torch.testing.assert_close(loss[text], torch.stack(rows).sum() / (2 * length))
    assert (loss > 0).all()
    assert torch.equal(relation_loss(teacher, teacher, lengths), torch.zeros(2))


def test_padding_changes_nothing():
    made, lengths = vectors(0, size=4), torch.tensor([3, 3])
    other = vectors(1, size=4)
    whole = relation_loss(relations(made, lengths, 2), relations(other, lengths, 2), lengths)
    cut = relation_loss(relations(made[:, :, :3], lengths, 2), relations(other[:, :, :3], lengths, 2), lengths)
    torch.testing.assert_close(whole, cut)


def test_depths_to_align_are_quarters_unless_named():
    assert aligned_depths(12, ()) == (3, 6, 9, 12)
    assert aligned_depths(2, ()) == (1, 2)
    assert aligned_depths(12, (1, 2)) == (1, 2, 12)
    with pytest.raises(ValueError, match="has 3 layers, so choose from 1 to 3"):
        aligned_depths(3, (0,))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A file of two hundred texts."""
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    random = torch.Generator().manual_seed(0)
    picks = [
        torch.randint(len(WORDS), (int(torch.randint(3, 20, (), generator=random)),), generator=random)
        for _ in range(200)
    ]
    path.write_text("".join(" ".join(WORDS[number] for number in pick) + "\n" for pick in picks))
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """An encoder of four layers."""
    return save_backbone(tmp_path_factory.mktemp("teacher"), labels=None, layers=4)


def run_settings(**changed):
    return tiny.settings(**{"relation_heads": 4, "depths": (1, 2)} | changed)


def test_processes_share_the_texts_of_a_step(texts):
    arguments = {"texts_per_step": 8, "max_length": 16, "narrow_share": 0.4}
    whole = TextSampler(tokenizer("bert"), read_texts(texts), **arguments).step(3)
    parts = [
        TextSampler(tokenizer("bert"), read_texts(texts), **arguments, rank=r, processes=2).step(3) for r in (0, 1)
    ]
    assert sum(part.pairs for part in parts) == whole.pairs == 8
    assert sum(part.texts for part in parts) == whole.texts
    assert sum(part.narrow_texts for part in parts) == whole.narrow_texts == 3
    rows = [{tuple(row) for batch in part.full for row in batch.ids[:, :4].tolist()} for part in (whole, *parts)]
    assert rows[0] == rows[1] | rows[2]
    lengths = [batch.lengths for batch in whole.full]
    assert torch.equal(torch.cat(lengths), torch.cat(lengths).sort(descending=True).values)


def test_aligning_lowers_the_loss_and_goes_on_where_it_was_killed(backbone, teacher, texts, tmp_path):
    changed = {"steps": 20, "learning_rate": 3e-3, "average": 0.8}

    def make(folder: str, **options) -> AlignmentTrainer:
        return AlignmentTrainer(
            backbone, teacher, texts, tmp_path / folder, run_settings(**changed), dtype="float32", **options
        )

    make("straight", validate_every=10).train()
    held_out = [row["held_out"] for row in read_log(tmp_path / "straight") if "held_out" in row]
    assert all(after < before for before, after in zip(*held_out, strict=True))
    make("killed", max_minutes=0).train()
    make("killed", resume=True).train()
    first, second = (load_file(tmp_path / name / "last.safetensors") for name in ("straight", "killed"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_what_it_makes_is_a_backbone_for_the_rank_stage(backbone, teacher, texts, prepared, tmp_path):
    sizes = ["--steps", "2", "--groups-per-step", "4", "--group-size", "4", "--max-length", "32", "--dtype", "float32"]
    sizes += ["--widths", "1", "0.5", "--max-query-length", "8"]
    aligned = ["train", "--stage", "align", "--backbone", backbone, "--teacher", teacher, "--data", str(texts)]
    assert main([*aligned, "--relation-heads", "4", "--output", str(tmp_path / "aligned"), *sizes]) == 0
    folder = tmp_path / "aligned" / "encoder"
    made, before = from_hugging_face(str(folder), keep_head=False)[0], from_hugging_face(backbone, keep_head=False)[0]
    kept = load_file(tmp_path / "aligned" / "best.safetensors")
    for name, value in made.state_dict().items():
        assert torch.equal(value, kept[name]), name
    assert not torch.equal(made.layer(2).qkv, before.layer(2).qkv)
    assert torch.equal(made.layer(2).up, before.layer(2).up)  # no relation depends on it
    assert torch.equal(made.embeddings.token, before.embeddings.token)
    assert json.loads((folder / "provenance.json").read_text())["texts"] == 200
    trained = ["train", "--backbone", str(folder), "--data", str(prepared), "--output", str(tmp_path / "run")]
    assert main([*trained, *sizes]) == 0
    assert (tmp_path / "run" / "checkpoint" / "elastic.json").exists()


def test_documents_of_a_prepared_folder_are_texts_too(prepared, tmp_path):
    assert len(read_texts(prepared)) == 60
    with pytest.raises(ValueError, match=r"neither a text file .one text a line. nor a prepared folder"):
        read_texts(tmp_path)


def test_teacher_and_student_must_go_together(backbone, teacher, texts, tmp_path):
    with pytest.raises(ValueError, match="different vocabularies"):
        other = save_backbone(tmp_path / "other", "roberta")
        AlignmentTrainer(backbone, other, texts, tmp_path / "a", run_settings())
    with pytest.raises(
        ValueError, match=r"relation_heads=12 does not divide the 32 features of the teacher: one of 1, 2"
    ):
        AlignmentTrainer(backbone, teacher, texts, tmp_path / "b", run_settings(relation_heads=12))
    with pytest.raises(ValueError, match=r"relation_heads=16 does not divide the 24 features of the width 0\.75"):
        changed = {"relation_heads": 16, "widths": (1, 0.75)}
        AlignmentTrainer(backbone, teacher, texts, tmp_path / "c", run_settings(**changed))
    with pytest.raises(ValueError, match="teacher_layer=9: the teacher has 4 layers"):
        AlignmentTrainer(backbone, teacher, texts, tmp_path / "d", run_settings(teacher_layer=9))
