"""A damaged checkpoint is refused with the name of what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from elasticranker.model.checkpoint import add_provenance, copy_checkpoint, fingerprint, load, tuned_on
from elasticranker.planning.calibration import Calibration, Line
from elasticranker.planning.plan import SubNet
from tests.planning.test_cost import elastic


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return elastic(tmp_path_factory.mktemp("source")).save(tmp_path_factory.mktemp("saved"), card="# card")


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_it_is_safetensors_and_json_alone(saved: Path) -> None:
    assert {path.suffix for path in saved.iterdir()} <= {".safetensors", ".json", ".txt", ".md"}


def test_who_may_read_one_of_its_files_may_read_all(saved: Path) -> None:
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1


def test_its_fingerprint_does_not_tell_whether_the_hub_may_be_asked(saved: Path, tmp_path: Path) -> None:
    again = load(saved).save(tmp_path / "again", card="# card")
    assert fingerprint(again) == fingerprint(saved)
    assert "local" not in (again / "tokenizer_config.json").read_text()


def test_it_comes_back_whole(saved: Path) -> None:
    checkpoint = load(saved)
    assert checkpoint.widths == (1.0, 0.75, 0.5, 0.25)
    assert checkpoint.encoder.depths == (0, 1, 2, 3)
    assert len(checkpoint.subnets) == 1 + 3 * 4


def test_what_a_killed_save_left_is_no_part_of_it(tmp_path: Path) -> None:
    half = tmp_path / "saved" / ".model.safetensors.0123abcd.tmp"
    half.parent.mkdir()
    half.write_bytes(b"half")
    elastic(tmp_path / "source").save(half.parent)
    assert not half.exists()
    assert half.name not in json.loads((half.parent / "elastic.json").read_text())["files"]


def test_keys_that_are_numbers_come_back_as_texts(tmp_path: Path) -> None:
    checkpoint = elastic(tmp_path / "source")
    checkpoint.provenance = {"training": {"exit_weights": {0: 0.5, 2: 1.3, 10: 0.7}}}
    again = load(checkpoint.save(tmp_path / "saved", card="# card"))
    assert again.provenance["training"]["exit_weights"] == {"0": 0.5, "2": 1.3, "10": 0.7}


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"lacks tokenizer\.json"):
        load(copy)


def test_truncated_weights_are_named(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file"):
        load(copy)


def test_a_tampered_manifest_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "elastic.json").read_text())
    manifest["widths"] = [1.0]
    (copy / "elastic.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="own digest"):
        load(copy)


def test_another_format_says_so(copy: Path) -> None:
    manifest = json.loads((copy / "elastic.json").read_text())
    manifest["format"] = 0
    (copy / "elastic.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="format 0; this version reads formats 1, 2"):
        load(copy)


def test_garbage_is_not_a_manifest(copy: Path) -> None:
    (copy / "elastic.json").write_bytes(b"\x00\xff")
    with pytest.raises(ValueError, match="not valid JSON"):
        load(copy)


def test_the_fingerprint_follows_the_weights(saved: Path, copy: Path) -> None:
    assert fingerprint(saved) == fingerprint(copy)
    checkpoint = load(copy)
    checkpoint.encoder.embeddings.token.data += 1
    assert fingerprint(checkpoint.save(copy)) != fingerprint(saved)


def test_its_repr_is_one_line_of_what_it_holds(tmp_path: Path) -> None:
    checkpoint = elastic(tmp_path)
    assert repr(checkpoint) == (
        "<Checkpoint: 3 layers, 32 wide; exits after 0 to 3; widths 1, 0.75, 0.5, 0.25; no tuned plans>"
    )
    checkpoint.provenance = {"backbone": "/home/me/small"}
    assert repr(checkpoint).endswith("; from small>")


def test_a_copy_is_the_checkpoint_and_its_card_without_what_lies_beside_them(copy: Path, tmp_path: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    (tmp_path / "twin").mkdir()
    copy_checkpoint(copy, tmp_path / "twin")
    assert fingerprint(tmp_path / "twin") == fingerprint(copy)
    assert repr(load(tmp_path / "twin")) == repr(load(copy))
    assert (tmp_path / "twin" / "README.md").read_text() == "# card"
    assert not (tmp_path / "twin" / "notes.txt").exists()


def test_a_calibration_comes_back_and_none_is_none(saved: Path, tmp_path: Path) -> None:
    checkpoint = load(saved)
    assert checkpoint.calibration == Calibration()
    lines = {subnet: Line(1 + 0.1 * subnet.depth, -subnet.width) for subnet in checkpoint.subnets}
    checkpoint.calibration = Calibration(lines, -3.5)
    assert load(checkpoint.save(tmp_path / "calibrated")).calibration == checkpoint.calibration


def test_a_calibration_that_lacks_a_sub_network_is_refused(saved: Path, tmp_path: Path) -> None:
    checkpoint = load(saved)
    checkpoint.calibration = Calibration({SubNet(3): Line()})
    with pytest.raises(ValueError, match="lacks sub-networks"):
        load(checkpoint.save(tmp_path / "half"))


def test_it_knows_every_query_that_tuning_calibrating_or_choosing_it_saw(copy: Path) -> None:
    add_provenance(
        copy,
        tuned_on={"queries": ["a", "b"]},
        calibrated_on={"queries": ["b", "c"]},
        chosen_on={"queries": ["d"]},
        tuned_for={"dense": {"queries": ["e"]}},
    )
    assert tuned_on(copy) == ["a", "b", "c", "d", "e"]
