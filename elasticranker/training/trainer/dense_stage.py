"""The dense stage: every sub-network learns to put a text where the teacher's vector of it is.

Queries mostly, which are a dozen tokens long: a step costs a fraction of one of the rank stage. All sub-networks learn
one space, so that query depth and document depth combine freely, and one index serves every budget.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from elasticranker.files import read_json, renewed_folder, write_json
from elasticranker.model.card import model_card
from elasticranker.model.checkpoint import Checkpoint, fingerprint, is_elastic, load
from elasticranker.model.encoder import Encoder
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.model.own_layers import sizes_of
from elasticranker.model.readout import SplitReadout
from elasticranker.model.saved import prefixes_of, read_settings, read_tokenizer
from elasticranker.model.sharing import tokens_of
from elasticranker.model.texts import TextEncoder
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.subnet import SubNet
from elasticranker.progress import bar
from elasticranker.training.data.batches import each_tensor
from elasticranker.training.data.dense_texts import VectorBatch, VectorSampler
from elasticranker.training.data.groups import Groups, digest, read_info
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.choosing import choose_layers
from elasticranker.training.trainer.dense_step import DenseStep, in_space, read_vectors
from elasticranker.training.trainer.fitting import projection_by_least_squares, rotation_by_variance
from elasticranker.training.trainer.loop import Loop
from elasticranker.training.trainer.provenance import provenance_after
from elasticranker.training.trainer.rank_stage import check_length, check_widths, choose_exits

LAYERS = "layers.json"  # in the folder of a run: the order of layers that it chose


class DenseTrainer(Loop):
    """Trains a split-layout encoder on texts alone, for `ElasticDenser`.

    Choose it after (or without) `ElasticTrainer`, whose rank stage aligns the same vectors beside ranking: this one
    sees many more queries in the same time, and may give queries layers that are no prefix (`query_layers`). Attention
    between texts and the other terms of the readouts stay as they are. Heads and neurons stay in their order: for
    narrower widths go on from a checkpoint whose rank stage ordered them.

    A query encoder of one depth alone, for comparison: that depth as `depths`, and `align_full`, `full_weight` and
    `document_share` of 0; its queries search the teacher's vectors.

    With `dims`, vectors may be cut to their first dimensions (Matryoshka representations, Kusupati et al. 2022): all
    are rotated, which no cosine of whole vectors feels, so that the first dimensions hold most.

    Args:
        backbone: Hugging Face id or folder of a bi-encoder that pools by the mean, such as the teacher itself; or an
            elastic checkpoint in split layout, whose training goes on with its exits and widths.
        data: a prepared folder with vectors (`elasticranker prepare --vectors`).
        output: folder of the run; the elastic checkpoint comes into its `checkpoint`.
        settings: what fixes the trajectory.
        tokens: an elastic checkpoint of the same vocabulary whose token embeddings are taken, and left as they are: one
            that ships beside may lend them (see `elasticranker.model.sharing`). By default the backbone's own.
        batch_texts: texts that run together; by default 64, on a GPU 512.
        options: `resume`, `max_minutes`, `validate_every`, `save_every`, `keep`, `dtype`, `on_step`: see `Loop`.

    Raises:
        ValueError: unusable data or backbone, or `output` holds another run.

    Example:
        >>> trainer = DenseTrainer("intfloat/e5-small-v2", "prepared", "run", resume=True)  # doctest: +SKIP
        >>> ElasticDenser(str(trainer.train() / "checkpoint"), budget="25%")  # doctest: +SKIP
    """

    stage = "dense"
    module: DenseStep

    def __init__(
        self,
        backbone: str | Path,
        data: str | Path,
        output: str | Path,
        settings: TrainingSettings | None = None,
        *,
        tokens: str | Path | None = None,
        batch_texts: int | None = None,
        **options: Any,
    ) -> None:
        settings = settings or TrainingSettings()
        if tokens is not None and not settings.freeze_tokens:
            raise ValueError(f"tokens={str(tokens)!r} are left as they are: leave freeze_tokens (--train-tokens) out")
        self.backbone, self.data = str(backbone), Path(data)
        self.sources = {"backbone": fingerprint(self.backbone), "data": digest(data)}
        if tokens is not None:
            self.sources["tokens"] = fingerprint(tokens)
        super().__init__(output, settings, self.sources, **options)
        self.start = self._start()
        if tokens is not None:
            take_tokens(self.start.encoder, tokens)
        encoder = choose_exits(self.start.encoder, settings.depths)
        check_length(encoder, settings.max_length)
        if settings.query_rank:
            give_corrections(encoder, settings.query_rank, seed=settings.seed)
        self.encoder: Encoder = encoder.to(self.device).train()
        dims = settings.dims or self.start.dense.dims
        refuse_dims(dims, encoder.shape.hidden)
        if dims:
            give_rotation(encoder)
        reading = DenseReading(self._known_order(), dims)
        if settings.query_rank:
            freeze_shared(encoder)
        else:
            freeze_pairs(encoder, freeze_tokens=settings.freeze_tokens)
        self.checkpoint = replace(
            self.start, encoder=encoder, widths=settings.widths, dense=reading, ladder=None, ladders={}
        )
        prefixes, tokenizer = self.checkpoint.prefixes, self.checkpoint.tokenizer
        queries = TextEncoder(
            tokenizer, longest=settings.max_length, most=settings.max_query_length, prefix=prefixes[0]
        )
        self.sampler = VectorSampler(
            Groups.load(data),
            queries,
            TextEncoder(tokenizer, longest=settings.max_length, prefix=prefixes[1]),
            settings.groups_per_step * settings.group_size,
            document_share=settings.document_share,
            batch_texts=batch_texts or (512 if self.device.type == "cuda" else 64),
            narrow_share=settings.narrow_share if len(settings.widths) > 1 else 0.0,
            source_weights=settings.source_weights or None,
            seed=settings.seed,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        size = self.sampler.step(0).documents.shape[-1]
        if size != encoder.shape.hidden:
            raise ValueError(
                f"{data} has vectors of {size} dimensions, the backbone makes {encoder.shape.hidden}: prepare it by a "
                "teacher of the backbone's width"
            )
        self.module = DenseStep(encoder, reading, settings, self.dtype)
        self._begin()

    def _start(self) -> Checkpoint:
        settings = self.settings
        if is_elastic(self.backbone):
            start = load(self.backbone)
            kinds = {readout.kind for readout in start.encoder.exits.values()}
            if not start.encoder.shape.split or kinds != {"split"}:
                raise ValueError(
                    f"backbone={self.backbone!r} is in joint layout, which makes no vectors: go on from a checkpoint "
                    "in split layout, or start from a bi-encoder"
                )
            check_widths(settings.widths, start.widths)
            return start
        encoder, config = from_hugging_face(
            self.backbone,
            keep_head=False,
            split=True,
            first_cross=settings.first_cross,
            document_start=settings.document_start,
        )
        tokenizer = read_tokenizer(self.backbone, encoder.shape.vocabulary)
        saved = read_settings(self.backbone, tokenizer, kind="SentenceTransformer")
        if saved.pooling != "mean":
            raise ValueError(
                f"backbone={self.backbone!r} pools by {saved.pooling}: vectors here are the mean of a text's states, "
                "give a backbone whose vectors are"
            )
        prefixes = settings.prefixes if any(settings.prefixes) else prefixes_of(self.backbone, saved)
        return Checkpoint(encoder, tokenizer, config, max_length=saved.max_length, prefixes=prefixes)

    @property
    def product(self) -> Path:
        """The elastic checkpoint."""
        return self.output / "checkpoint"

    @torch.no_grad()
    def prepare_start(self) -> None:
        """Choose layers if wished, and put projections that nobody trained for them where least squares puts them."""
        settings = self.settings
        choosing = settings.query_layers == "chosen" and not self.checkpoint.dense.order
        steps = max(2, settings.fit_steps) if choosing else settings.fit_steps
        drawn: list[VectorBatch] = [batch for data in self.unseen(steps, "drawing texts") for batch in data.full]
        if choosing:
            self._choose(drawn)
        reading = self.checkpoint.dense
        taught = self.sampler.groups.vectors
        if reading.dims and not self.start.dense.dims and taught is not None:
            kinds = [torch.from_numpy(kind.astype(np.float32)).to(self.device) for kind in taught]
            self._exits()[-1].projection.copy_(rotation_by_variance(kinds))
        trained = self.start.provenance and reading.order == self.start.dense.order
        if not settings.fit_steps or trained:
            return
        readouts = self._exits()[:-1]
        for readout in readouts:
            nn.init.eye_(readout.projection)
        means: list[list[tuple[Tensor, Tensor]]] = [[] for _ in readouts]
        for batch in bar(drawn, name="fitting exits", unit="batches"):
            vectors = read_vectors(self.encoder, reading, batch, 1.0, torch.float32)
            for known, made in zip(means, vectors[:-1], strict=True):
                known.append((made, in_space(self.encoder, batch.targets)))
        for readout, known in zip(readouts, means, strict=True):
            readout.projection.copy_(projection_by_least_squares(known))

    def _known_order(self) -> tuple[int, ...]:
        """The order of layers that the backbone, or this run when it began, has chosen; empty where nothing has."""
        path = self.output / LAYERS
        chosen = self.settings.query_layers == "chosen" and path.exists()
        return self.start.dense.order or (tuple(read_json(path)) if chosen else ())

    def _choose(self, batches: list[VectorBatch]) -> None:
        """Choose the order of layers, the same in every process, and keep it for when the run is gone on with."""
        from accelerate.utils import broadcast_object_list

        order = broadcast_object_list([choose_layers(self.encoder, batches, self.dtype)])[0]
        if self.accelerator.is_main_process:
            write_json(self.output / LAYERS, list(order))
        reading = replace(self.checkpoint.dense, order=order)
        self.checkpoint = replace(self.checkpoint, dense=reading)
        self.module.reading = reading

    def _exits(self) -> list[SplitReadout]:
        return [cast(SplitReadout, self.encoder.exits[str(depth)]) for depth in self.encoder.depths]

    def validate(self) -> dict[str, Any] | None:
        """Mean cosine of held-out queries' vectors to the teacher's, and agreement on the first of all candidates.

        Their mean over taught exits of full width is the `score`.
        """
        if not len(self.sampler.held):
            return None
        cosine, agreement = self._measure(self.encoder, 1.0)
        figures = {"cosine": cosine.tolist(), "agreement": agreement.tolist()}
        taught = [self.encoder.depths.index(depth) for depth in self.module.taught]
        score = float((cosine[taught].mean() + agreement[taught].mean()) / 2)
        return {name: [round(value, 4) for value in values] for name, values in figures.items()} | {"score": score}

    @torch.inference_mode()
    def _measure(self, encoder: Encoder, width: float) -> tuple[Tensor, Tensor]:
        """`[exits]` mean cosine to the teacher's vectors and top-1 agreement, on held-out queries at one width."""
        data = each_tensor(self.sampler.validation(), lambda tensor: tensor.to(self.device))
        cosine, agreement = [], []
        documents = in_space(encoder, data.documents)
        for batch in data.full:
            targets = in_space(encoder, batch.targets)
            vectors = read_vectors(encoder, self.checkpoint.dense, batch, width, self.dtype)
            cosine.append((vectors * targets).sum(-1))
            first = (targets @ documents.T).argmax(-1)
            agreement.append(((vectors @ documents.T).argmax(-1) == first).float())
        return torch.cat(cosine, 1).mean(1).cpu(), torch.cat(agreement, 1).mean(1).cpu()

    def finish(self, kept: str, weights: dict[str, Tensor]) -> None:
        """Write the elastic checkpoint, its sub-networks rated by what held-out queries get from them."""
        encoder = copy.deepcopy(self.encoder).eval()
        encoder.load_state_dict(weights)
        queries = {name: counts["queries"] for name, counts in self.sampler.groups.counts().items()}
        story = provenance_after(
            self.start.provenance,
            self.settings,
            self.progress,
            backbone=self.backbone,
            fingerprints=self.sources,
            teacher=read_info(self.data).get("teacher", ""),
            sources=queries,
            stage=self.stage,
            kept=kept,
        )
        reading = replace(self.checkpoint.dense, rated=self._rated(encoder))
        checkpoint = replace(self.checkpoint, encoder=encoder.cpu(), dense=reading, provenance=story)
        with renewed_folder(self.product) as folder:
            checkpoint.save(folder, card=model_card(checkpoint), dtype="bfloat16")  # what it will be run in

    def _rated(self, encoder: Encoder) -> tuple[tuple[SubNet, float], ...]:
        """Every sub-network, and its mean cosine on held-out queries; none where none are held out."""
        if not len(self.sampler.held):
            return ()
        rated = []
        for width in self.settings.widths:
            cosine, _ = self._measure(encoder, width)
            pairs = zip(encoder.depths, cosine.tolist(), strict=True)
            rated += [(SubNet(depth, width), round(value, 5)) for depth, value in pairs if depth or width == 1]
        return tuple(rated)


def take_tokens(encoder: Encoder, source: str | Path) -> None:
    """Give an encoder the token embeddings of an elastic checkpoint.

    Raises:
        ValueError: they are of another vocabulary or size, or it is no elastic checkpoint.
    """
    if not is_elastic(source):
        raise ValueError(f"tokens={str(source)!r} is no elastic checkpoint: name one, such as default")
    own, theirs = cast(Tensor, encoder.embeddings.token), tokens_of(source)
    if own.shape != theirs.shape:
        raise ValueError(
            f"tokens={str(source)!r} has {tuple(theirs.shape)} token embeddings, the backbone {tuple(own.shape)}: "
            "name a checkpoint of the same backbone"
        )
    with torch.no_grad():
        own.copy_(theirs)


def refuse_dims(dims: tuple[int, ...], hidden: int) -> None:
    """Raise a ValueError where vectors can't be cut to so many dimensions."""
    if dims and max(dims) >= hidden:
        raise ValueError(f"dims={dims}: vectors have {hidden} dimensions, so choose numbers below that")


def give_rotation(encoder: Encoder) -> None:
    """Let the whole model's exit project its mean, as the others do; by the identity, where it doesn't yet."""
    last = str(encoder.shape.layers)
    readout = cast(SplitReadout, encoder.exits[last])
    if not readout.projected:
        rotated = SplitReadout(encoder.shape.hidden)
        rotated.load_state_dict(readout.state_dict(), strict=False)
        encoder.exits[last] = rotated.to(readout.scale.device)


def give_corrections(encoder: Encoder, rank: int, *, seed: int) -> None:
    """Untrained corrections for every exit below full depth that has none, the same in every process."""
    sizes = sizes_of(encoder.layer(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for depth in encoder.depths[:-1]:
            readout = cast(SplitReadout, encoder.exits[str(depth)])
            if depth and not readout.corrections:
                readout.correct_layers(rank, depth, sizes)


def freeze_shared(encoder: Encoder) -> None:
    """Leave in training what query encoders have of their own: corrections and projections below full depth."""
    encoder.requires_grad_(False)
    for depth in encoder.depths[:-1]:
        readout = cast(SplitReadout, encoder.exits[str(depth)])
        readout.corrections.requires_grad_(True)
        readout.projection.requires_grad_(True)


def freeze_pairs(encoder: Encoder, *, freeze_tokens: bool) -> None:
    """Leave out of training what no vector depends on, the whole model's space, and the token embeddings if wished."""
    whole = f"exits.{encoder.shape.layers}.projection"
    for name, parameter in encoder.named_parameters():
        used = not name.endswith(".cross") and (not name.startswith("exits.") or name.endswith(".projection"))
        parameter.requires_grad_(used and name != whole)
    encoder.embeddings.token.requires_grad_(not freeze_tokens)
