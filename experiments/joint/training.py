"""Small T5s from scratch, with transformers' own trainer: a vocabulary, a Swift and a Super, each resumable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elasticranker.files import read_json, write_json
from elasticranker.model.huggingface import quiet
from experiments.joint.parallel import Pairs

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"  # ids 0, 1, 2, as in every T5


@dataclass(frozen=True)
class Size:
    """A T5's size.

    Attributes:
        layers: of the encoder, and as many of the decoder.
        width: of the hidden states.
        heads: of each attention.
        neurons: of each feed-forward part.
    """

    layers: int
    width: int
    heads: int
    neurons: int

    def __str__(self) -> str:
        return f"{self.layers} + {self.layers} layers, {self.width} wide"


SWIFT, SUPER = Size(2, 128, 4, 512), Size(4, 256, 4, 1024)


@dataclass(frozen=True)
class Training:
    """How both models are trained.

    Attributes:
        epochs: passes over the training pairs.
        batch_size: pairs a step.
        learning_rate: of Adafactor, in units of each parameter's root mean square, at its peak after a tenth of the
            steps; it falls to 0 in a straight line.
        dropout: share of activations that are dropped.
        smoothing: of the labels.
        dtype: bfloat16 (autocast) or float32.
        device: cpu or cuda.
        seed: of weights, order and dropout.
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 2e-2
    dropout: float = 0.1
    smoothing: float = 0.1
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0


def make_tokenizer(folder: Path, texts: Iterable[str], vocabulary: int) -> Any:
    """The tokenizer of a folder; where there is none yet, a byte-level BPE over the texts is made and kept there.

    Args:
        folder: of the tokenizer.
        texts: in both languages.
        vocabulary: tokens at most, those that every byte needs among them.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if not folder.exists():
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[PAD, END, UNKNOWN],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        made.train_from_iterator(texts, trainer)
        made.post_processor = processors.TemplateProcessing(
            single=f"$A {END}", special_tokens=[(END, made.token_to_id(END))]
        )
        names = {"pad_token": PAD, "eos_token": END, "unk_token": UNKNOWN}
        inputs = ["input_ids", "attention_mask"]
        wrapped = PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=inputs, **names)
        _save_whole(wrapped, folder)
    return AutoTokenizer.from_pretrained(folder)


def train_t5(folder: Path, size: Size, training: Training, pairs: Pairs, tokenizer: Any, *, progress: bool) -> None:
    """Train a T5 and leave it in a folder; if it is there already, do nothing.

    What is not finished lies in a folder beside it, a checkpoint an epoch; a killed training goes on from the last.
    """
    if folder.exists():
        return
    from transformers import Adafactor, DataCollatorForSeq2Seq, PrinterCallback, Seq2SeqTrainer, set_seed

    set_seed(training.seed)
    model, unfinished = _new_t5(size, training, tokenizer), folder.with_name(f"{folder.name}-unfinished")
    # T5's weights start at very different sizes, and its attention isn't scaled: Adam's equal steps saturate it, and a
    # model of four layers then learns nothing but how frequent words are. T5 was made for steps relative to the size.
    optimiser = Adafactor(
        model.parameters(),
        lr=training.learning_rate,
        scale_parameter=True,
        relative_step=False,
        warmup_init=False,
    )
    trainer = Seq2SeqTrainer(
        model=model,
        args=_arguments(unfinished, training, len(pairs), progress),
        train_dataset=_Encoded(pairs, tokenizer),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
        optimizers=(optimiser, None),
    )
    trainer.remove_callback(PrinterCallback)
    with quiet():
        trainer.train(resume_from_checkpoint=_last_checkpoint(unfinished))
    losses = [{"step": entry["step"], "loss": entry["loss"]} for entry in trainer.state.log_history if "loss" in entry]
    facts = {"size": asdict(size), "training": asdict(training), "parameters": model.num_parameters(), "loss": losses}
    _save_whole(model, folder, facts)
    shutil.rmtree(unfinished)


class _Encoded:
    """Pairs as token ids, all at once: captions are short."""

    def __init__(self, pairs: Pairs, tokenizer: Any) -> None:
        sources, targets = tokenizer(pairs.sources), tokenizer(pairs.targets)
        self.items = [
            {"input_ids": source, "attention_mask": [1] * len(source), "labels": target}
            for source, target in zip(sources["input_ids"], targets["input_ids"], strict=True)
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.items[index]


def _new_t5(size: Size, training: Training, tokenizer: Any) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    settings = {
        "vocab_size": len(tokenizer),
        "d_model": size.width,
        "d_kv": size.width // size.heads,
        "d_ff": size.neurons,
        "num_layers": size.layers,
        "num_heads": size.heads,
        "dropout_rate": training.dropout,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    return T5ForConditionalGeneration(T5Config(**settings))


def _arguments(folder: Path, training: Training, pairs: int, progress: bool) -> Any:
    from transformers import Seq2SeqTrainingArguments

    steps = -(-pairs // training.batch_size) * training.epochs
    return Seq2SeqTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        lr_scheduler_type="linear",
        warmup_steps=steps // 10,
        max_grad_norm=0.0,  # Adafactor clips by itself
        label_smoothing_factor=training.smoothing,
        bf16=training.dtype == "bfloat16",
        use_cpu=training.device == "cpu",
        train_sampling_strategy="group_by_length",
        save_strategy="epoch",  # between epochs the order of the next is still to be drawn: resuming repeats nothing
        save_total_limit=1,
        logging_steps=max(1, min(50, steps)),
        dataloader_pin_memory=training.device != "cpu",
        disable_tqdm=not progress,
        report_to="none",
        seed=training.seed,
    )


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the trainer's state is its last file."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2])):
        try:
            read_json(checkpoint / "trainer_state.json")
        except (OSError, ValueError):
            continue
        return str(checkpoint)
    return None


def _save_whole(thing: Any, folder: Path, facts: dict[str, Any] | None = None) -> None:
    """Save a model or tokenizer so that the folder is there only when it is complete."""
    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    with quiet():
        thing.save_pretrained(unfinished)
    if facts is not None:
        write_json(unfinished / "training.json", facts)
    os.replace(unfinished, folder)
