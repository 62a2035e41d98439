"""Checkpoints on disk: safetensors and JSON, nothing pickled, every file checked against its digest.

An elastic checkpoint is a folder: `model.safetensors`, `config.json` (the backbone's), the tokenizer's files,
`elastic.json` (what it holds) and `README.md` (the model card). Any other folder or id is taken for an ordinary
Hugging Face cross-encoder.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from elasticranker.files import public_name, remove_abandoned, sha256_file, write_tensors
from elasticranker.model.hub import MANIFEST, resolve
from elasticranker.model.manifest import FORMAT, WEIGHTS, digest_of, read_manifest, write_manifest
from elasticranker.model.pairs import PairEncoder
from elasticranker.model.saved import limit_of, read_settings, read_tokenizer
from elasticranker.planning.calibration import Calibration, Line
from elasticranker.planning.cost import CostModel
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.ladder import Ladder, untuned
from elasticranker.planning.plan import SubNet
from elasticranker.progress import phase

CARD = "README.md"
LONGEST = 512  # tokens of a pair, where a checkpoint names no limit
WITH_HEAD = ("cls", "mean")  # readouts that end in a head
FIRST_STAGE = "bm25"  # whose ladder is taken where none is named


@dataclass(repr=False)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        encoder: the trained encoder (float32).
        tokenizer: the backbone's.
        config: the backbone's Hugging Face configuration.
        widths: widths that it was trained at, widest first.
        ladder: its plans for candidates of BM25.
        provenance: how it came to be.
        max_length: most tokens of a pair that it is meant for; None leaves it to the tokenizer, see `longest`.
        prefixes: what it reads before queries and documents, in split layout.
        prompt: what is put before every query, in joint layout.
        calibration: what its sub-networks' scores mean.
        dense: how it reads one text alone, in split layout.
        ladders: its plans for candidates of other first stages, by name.
    """

    encoder: Any
    tokenizer: Any
    config: Any
    widths: tuple[float, ...] = (1.0,)
    ladder: Ladder | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    prefixes: tuple[str, str] = ("", "")
    prompt: str = ""
    calibration: Calibration = field(default_factory=Calibration)
    dense: DenseReading = field(default_factory=DenseReading)
    ladders: dict[str, Ladder] = field(default_factory=dict)

    def pairs(self, *, max_length: int, max_query_length: int) -> PairEncoder:
        """What lays pairs out for it; lengths as `PairEncoder` takes them.

        Raises:
            ValueError: it is a classifier, and ranks nothing.
        """
        if self.classifies:
            raise ValueError(
                "this checkpoint is a classifier, which gives no relevance scores: read it with "
                "elasticranker.routing.exit_of, or name a reranker"
            )
        from elasticranker.model.split import SplitPairEncoder

        lengths = {"max_length": max_length, "max_query_length": max_query_length}
        if self.encoder.shape.split:
            return SplitPairEncoder(self.tokenizer, prefixes=self.prefixes, **lengths)
        return PairEncoder(self.tokenizer, prompt=self.prompt, **lengths)

    @property
    def classifies(self) -> bool:
        """Is it a classifier or a regression of texts, rather than a reranker?"""
        return any(readout.kind == "mean" for readout in self.encoder.exits.values())

    @property
    def subnets(self) -> list[SubNet]:
        """Every sub-network, by depth and width; depth 0 has no width to vary."""
        return sorted(
            SubNet(depth, width) for depth in self.encoder.depths for width in self.widths if depth or width == 1.0
        )

    @property
    def cost(self) -> CostModel:
        """Prices of its sub-networks."""
        shape = self.encoder.shape
        readouts = {}
        for depth, readout in self.encoder.exits.items():
            name = readout.kind
            if name in WITH_HEAD:
                name += f"/{readout.head.shape[0]}" + ("+pooler" if readout.pooler else "")
            elif name == "split" and readout.projected:
                name = "split+projection"
            readouts[int(depth)] = name
        sizes = (shape.layers, shape.hidden, shape.heads, shape.head_size, shape.neurons, shape.embedding)
        return CostModel(*sizes, readouts, apart=shape.apart, gates=shape.gates, windows=shape.windows)

    @property
    def longest(self) -> int:
        """Most tokens of a pair: what it names, or its tokenizer, or 512; never more than it has positions for."""
        shape = self.encoder.shape
        limit: int = shape.positions - shape.position_offset
        return min(self.max_length or limit_of(self.tokenizer) or LONGEST, limit)

    def __repr__(self) -> str:
        shape, depths = self.encoder.shape, self.encoder.depths
        every = len(depths) > 2 and depths == tuple(range(depths[0], depths[-1] + 1))
        facts = [
            f"{shape.layers} layers, {shape.hidden} wide",
            f"exits after {f'{depths[0]} to {depths[-1]}' if every else ', '.join(map(str, depths))}",
            f"widths {', '.join(f'{width:g}' for width in self.widths)}",
            f"{len(self.ladder.rungs)} plans" if self.ladder is not None else "no tuned plans",
        ]
        source = self.provenance.get("backbone") or self.provenance.get("source")
        return f"<Checkpoint: {'; '.join(facts + ([f'from {public_name(str(source))}'] if source else []))}>"

    def plans(self, first_stage: str = FIRST_STAGE) -> Ladder:
        """Its ladder for candidates of a first stage; the untuned one where it has none at all.

        Raises:
            ValueError: it has ladders for other first stages alone.
        """
        known = ({FIRST_STAGE: self.ladder} if self.ladder is not None else {}) | self.ladders
        if not known:
            return untuned(self.subnets)
        if first_stage not in known:
            raise ValueError(
                f"first_stage={first_stage!r}: the checkpoint has ladders for {', '.join(sorted(known))}; name one of "
                f"those, or tune one with `elasticranker tune --first-stage {first_stage}`"
            )
        return known[first_stage]

    def save(self, folder: str | Path, card: str = "", *, dtype: str | None = None) -> Path:
        """Write the checkpoint and return its folder.

        The manifest is written last, so that a half-written folder never looks like a checkpoint.

        Args:
            folder: where; made if need be.
            card: the model card, Markdown.
            dtype: of the weights on disk: `float32`, `bfloat16` or `float16`, rounded if need be. By default nothing
                is rounded: the smallest that keeps every weight as it is, which is the one that they came in.

        Raises:
            ValueError: another `dtype`.
        """
        from elasticranker.model.weights import as_stored

        tensors = as_stored(self.encoder.state_dict(), dtype)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)  # or the manifest would name it
        (folder / MANIFEST).unlink(missing_ok=True)
        write_tensors(folder / WEIGHTS, tensors)
        self.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if card:
            (folder / CARD).write_text(card, encoding="utf-8")
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "shape": asdict(self.encoder.shape),
            "exits": {
                depth: {"readout": readout.kind} | _options(readout) for depth, readout in self.encoder.exits.items()
            },
            "widths": list(self.widths),
            "max_length": self.max_length,
            "prefixes": list(self.prefixes),
            "prompt": self.prompt,
            "ladder": self.ladder.to_json() if self.ladder is not None else None,
            "calibration": self.calibration.to_json() if self.calibration.lines else None,
            "ladders": {name: ladder.to_json() for name, ladder in sorted(self.ladders.items())},
            "dense": self.dense.to_json() if self.dense != DenseReading() else None,
            "provenance": self.provenance,
            "files": {p.name: sha256_file(p) for p in sorted(folder.iterdir()) if p.is_file() and p.name != CARD},
        }
        write_manifest(folder, manifest)
        return folder


def copy_checkpoint(source: str | Path, folder: str | Path) -> None:
    """Copy an elastic checkpoint's files and its card, not what else lies beside them, into an empty folder.

    The copy stands alone: token embeddings that another checkpoint lends come with it.
    """
    from elasticranker.model.sharing import own_tokens

    place = Path(resolve(source))
    cards = [CARD] if (place / CARD).exists() else []
    for name in [*read_manifest(place)["files"], *cards, MANIFEST]:
        shutil.copyfile(place / name, Path(folder) / name)
    own_tokens(folder)


def set_ladder(folder: str | Path, ladder: Ladder, tuned_on: dict[str, Any], *, first_stage: str = FIRST_STAGE) -> None:
    """Give a checkpoint on disk a ladder; nothing else of it changes.

    Args:
        folder: of the checkpoint.
        ladder: the plans.
        tuned_on: on what, kept in the provenance: `collection`, and `queries`, their `query_key`s, which an experiment
            leaves out.
        first_stage: what made the candidates that it is for.
    """
    manifest = read_manifest(folder)
    if first_stage == FIRST_STAGE:
        manifest["ladder"], manifest["provenance"]["tuned_on"] = ladder.to_json(), tuned_on
    else:
        manifest.setdefault("ladders", {})[first_stage] = ladder.to_json()
        manifest["provenance"].setdefault("tuned_for", {})[first_stage] = tuned_on
    write_manifest(Path(folder), manifest)


def set_calibration(folder: str | Path, calibration: Calibration, calibrated_on: dict[str, Any]) -> None:
    """Give a checkpoint on disk a calibration; nothing else of it changes.

    Args:
        folder: of the checkpoint.
        calibration: what its sub-networks' scores mean.
        calibrated_on: on what, kept in the provenance: `collection` and `queries`, as `tuned_on` of `set_ladder`;
            `pairs`, how many of them with `strangers`, and the relevance `level`; `errors`, what `Reliability` holds of
            each `exit`.
    """
    manifest = read_manifest(folder)
    manifest["calibration"] = calibration.to_json()
    manifest["provenance"]["calibrated_on"] = calibrated_on
    write_manifest(Path(folder), manifest)


def add_provenance(folder: str | Path, **entries: Any) -> None:
    """Note how a checkpoint on disk came to be; nothing else of it changes.

    Args:
        folder: of the checkpoint.
        entries: as JSON knows values, such as `elastified` (see `elasticranker.training.elastifying.moving`).
    """
    manifest = read_manifest(folder)
    manifest["provenance"] |= entries
    write_manifest(Path(folder), manifest)


def query_key(query: str) -> str:
    """A short digest of a query's text: names a query without carrying its text."""
    return hashlib.sha256(" ".join(query.lower().split()).encode("utf-8", "replace")).hexdigest()[:12]


def is_elastic(source: str | Path, revision: str | None = None) -> bool:
    """Is it an elastic checkpoint?"""
    return (Path(resolve(source, revision)) / MANIFEST).exists()


def tuned_on(source: str | Path, revision: str | None = None) -> list[str]:
    """`query_key`s of the queries that its ladders, calibration or choice saw; none for ordinary cross-encoders."""
    if not is_elastic(source, revision):
        return []
    about = read_manifest(resolve(source, revision))["provenance"]
    saw = [about.get(name, {}) for name in ("tuned_on", "calibrated_on", "chosen_on")]
    saw += about.get("tuned_for", {}).values()
    return sorted({key for seen in saw for key in seen.get("queries", [])})


def fingerprint(source: str | Path, revision: str | None = None) -> str:
    """What identifies a checkpoint's scores: the manifest's digest, or a digest over a Hugging Face folder's files."""
    from elasticranker.model.modular import modules_of

    folder = Path(resolve(source, revision))
    if (folder / MANIFEST).exists():
        return str(read_manifest(folder)["digest"])
    kinds = {".json", ".safetensors", ".bin", ".txt", ".model"}
    files = sorted(p for place in (folder, *modules_of(folder)) for p in place.iterdir() if p.suffix in kinds)
    return digest_of({p.relative_to(folder).as_posix(): sha256_file(p) for p in files})


def load(source: str | Path, revision: str | None = None) -> Checkpoint:
    """Load an elastic checkpoint, or an ordinary Hugging Face cross-encoder.

    Args:
        source: `"default"`, a folder, or an id on the Hugging Face hub.
        revision: branch, tag or commit of an id.

    Raises:
        ValueError: there is no such model, files or tensors are missing, truncated or changed, or something that the
            checkpoint asks for isn't supported.
    """
    with phase(f"loading {public_name(str(source))}"):
        return _load(source, revision)


def _load(source: str | Path, revision: str | None) -> Checkpoint:
    folder = Path(resolve(source, revision))
    if not (folder / MANIFEST).exists():
        return _load_hugging_face(folder, str(source))
    manifest = read_manifest(folder)
    for name, digest in manifest["files"].items():
        if not (folder / name).exists():
            raise ValueError(f"{folder} lacks {name}: the checkpoint is incomplete, get it again")
        if sha256_file(folder / name) != digest:
            raise ValueError(
                f"{folder / name} is not the file that elastic.json names: truncated or changed, get it again"
            )
    from safetensors.torch import load_file

    from elasticranker.model.configuration import read_config
    from elasticranker.model.encoder import Encoder
    from elasticranker.model.families import read_shape
    from elasticranker.model.readout import make_readout
    from elasticranker.model.sharing import lent_tokens
    from elasticranker.model.weights import refuse_other_weights

    shape = read_shape(manifest["shape"])
    readouts = {int(depth): make_readout(shape.hidden, **options) for depth, options in manifest["exits"].items()}
    encoder = Encoder(shape, readouts)
    stored = load_file(folder / WEIGHTS)
    if manifest.get("tokens"):
        stored |= lent_tokens(manifest["tokens"])
    tensors = {name: tensor.float() for name, tensor in stored.items()}
    wanted = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
    refuse_other_weights(
        folder,
        missing=wanted.keys() - tensors.keys(),
        unexpected=tensors.keys() - wanted.keys(),
        mismatched={
            name: f"{tuple(tensors[name].shape)} in the file, {tuple(shape)} by elastic.json"
            for name, shape in wanted.items()
            if name in tensors and tensors[name].shape != shape
        },
        remedy="get the checkpoint again",
    )
    encoder.load_state_dict(tensors)
    full = SubNet(shape.layers)
    checkpoint = Checkpoint(
        encoder.eval(),
        read_tokenizer(folder, shape.vocabulary),
        read_config(folder),
        tuple(manifest["widths"]),
        Ladder.from_json(manifest["ladder"], full) if manifest["ladder"] else None,
        manifest["provenance"],
        manifest["max_length"],
        tuple(manifest.get("prefixes", ("", ""))),
        manifest.get("prompt", ""),
    )
    if manifest.get("calibration"):
        checkpoint.calibration = Calibration.from_json(manifest["calibration"], checkpoint.subnets)
    if manifest.get("dense"):
        checkpoint.dense = DenseReading.from_json(manifest["dense"])
    checkpoint.ladders = {name: Ladder.from_json(rungs, full) for name, rungs in manifest.get("ladders", {}).items()}
    return checkpoint


def _load_hugging_face(folder: Path, source: str) -> Checkpoint:
    from elasticranker.model.huggingface import from_hugging_face
    from elasticranker.model.readout import InteractionReadout

    encoder, config = from_hugging_face(folder)
    tokenizer = read_tokenizer(folder, encoder.shape.vocabulary)
    saved = read_settings(folder, tokenizer)
    # The filter's similarity, at most SCALE, is no judgement: it never makes relevance likelier than not.
    filter_line = Line(intercept=-InteractionReadout.SCALE)
    return Checkpoint(
        encoder,
        tokenizer,
        config,
        provenance={"source": source},
        max_length=saved.max_length,
        prompt=saved.prompt,
        calibration=Calibration({SubNet(0): filter_line, SubNet(encoder.shape.layers): Line()}),
    )


def _options(readout: Any) -> dict[str, Any]:
    return readout.options if readout.kind in (*WITH_HEAD, "split") else {}
