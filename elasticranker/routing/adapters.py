"""Hugging Face models as the black boxes of `JointInference`: classifiers, and generators of text."""

from __future__ import annotations

import reprlib
import warnings
from typing import Any

from elasticranker.routing.outputs import Model, Outputs

SET_HERE = ("return_dict_in_generate", "output_logits", "num_return_sequences")
WITHOUT_EOS = ("stop_strings", "stopping_criteria")  # what follows their stops could not be told from padding


def classifier(model: Any, tokenizer: Any, *, max_input_tokens: int | None = None) -> Model:
    """A Hugging Face `...ForSequenceClassification` as a model for `JointInference`.

    Inputs are texts or pairs of texts, predictions are class numbers (`model.config.id2label` has their names), logits
    are the head's. The model is put into evaluation mode and stays on its device. The elastic cross-encoders of this
    package have one logit and so no energy between classes: for them there is `EnergyRouter`.

    Args:
        model: Of two or more classes of which one is right.
        tokenizer: Its tokenizer.
        max_input_tokens: Longer inputs are cut there, with one warning. Defaults to what tokenizer and model allow.

    Raises:
        ValueError: It is a regression (one logit says nothing of its own doubt) or gives several labels at once.

    Example:
        >>> swift = classifier(AutoModelForSequenceClassification.from_pretrained(name), tokenizer)
        >>> swift([("a man sleeps", "nobody is awake")]).logits.shape
        (1, 3)
    """
    kind, labels = getattr(model.config, "problem_type", None), model.config.num_labels
    if labels < 2 or kind == "regression":
        raise ValueError(
            f"{type(model).__name__} is a regression (num_labels={labels}, problem_type={kind!r}): one number has no "
            "energy that would say how sure it is; use a classifier of two or more classes"
        )
    if kind == "multi_label_classification":
        raise ValueError(
            f"{type(model).__name__} gives several labels at once (problem_type={kind!r}): energies here are over "
            "classes of which one is right"
        )
    reader = _Reader(model, tokenizer, max_input_tokens)
    model.eval()

    def classify(inputs: list[Any]) -> Outputs:
        import torch

        with torch.inference_mode():
            logits = model(**reader.read(inputs)).logits
        if logits.shape != (len(inputs), labels):
            raise ValueError(
                f"{type(model).__name__} gave logits of shape {tuple(logits.shape)} for {len(inputs)} inputs and "
                f"num_labels={labels}: use a ...ForSequenceClassification, or generator() for a model that generates"
            )
        return Outputs(logits.argmax(-1).tolist(), logits.float().cpu().numpy())

    return classify


def generator(model: Any, tokenizer: Any, *, max_input_tokens: int | None = None, **generation: Any) -> Model:
    """A Hugging Face encoder-decoder or decoder that generates as a model for `JointInference`.

    Inputs and predictions are texts. An output's logits are those of the steps that made it, before any processing
    (temperature, top-k, ...), up to and with its first end-of-sequence token; what pads it to the longest output of
    its batch doesn't count. With beams they are those along the beam that won. The model is put into evaluation mode
    and stays on its device.

    Args:
        model: A model with `generate`.
        tokenizer: Its tokenizer. Decoders are padded on the left, whatever the tokenizer's own side.
        max_input_tokens: Longer inputs are cut there, with one warning. Defaults to what tokenizer and model allow; a
            decoder needs room for what it generates as well.
        generation: For `generate`: max_new_tokens, num_beams, ... With sampling, answers depend on torch's seed.

    Raises:
        ValueError: The model can't generate, the tokenizer has no padding token, or an argument of `generate` is one
            that is set here or that ends outputs without an end-of-sequence token.

    Example:
        >>> swift = generator(AutoModelForSeq2SeqLM.from_pretrained("google-t5/t5-small"), tokenizer, max_new_tokens=40)
        >>> swift(["translate English to German: A dog runs."]).predictions
        ['Ein Hund rennt.']
    """
    refused = [name for name in (*SET_HERE, *WITHOUT_EOS) if name in generation]
    if refused:
        raise ValueError(
            f"{refused[0]}={generation[refused[0]]!r}: leave it out; {', '.join(SET_HERE)} are set here, and "
            f"{' and '.join(WITHOUT_EOS)} end outputs without an end-of-sequence token (give eos_token_id instead)"
        )
    if not (hasattr(model, "can_generate") and model.can_generate()):
        raise ValueError(f"{type(model).__name__} can't generate: use an encoder-decoder or a causal language model")
    if tokenizer.pad_token_id is None:
        raise ValueError("the tokenizer has no padding token: set tokenizer.pad_token = tokenizer.eos_token")
    side = None if model.config.is_encoder_decoder else "left"
    reader = _Reader(model, tokenizer, max_input_tokens, padding_side=side)
    settings = {"pad_token_id": tokenizer.pad_token_id, **generation}
    settings |= {"return_dict_in_generate": True, "output_logits": True, "num_return_sequences": 1}
    eos = settings.get("eos_token_id", settings.get("generation_config", model.generation_config).eos_token_id)
    ends = set() if eos is None else {eos} if isinstance(eos, int) else set(eos)
    model.eval()

    def generate(inputs: list[Any]) -> Outputs:
        read = reader.read(inputs)
        made = model.generate(input_ids=read["input_ids"], attention_mask=read["attention_mask"], **settings)
        beams = getattr(made, "beam_indices", None)
        steps = len(made.logits) if beams is None else beams.shape[1]
        tokens = made.sequences[:, made.sequences.shape[1] - steps :].cpu()
        outputs, logits = [], []
        for row, padded in enumerate(tokens.tolist()):
            length = next((place + 1 for place, token in enumerate(padded) if token in ends), steps)
            rows = [row] * length if beams is None else beams[row, :length].tolist()
            outputs.append(padded[:length])
            logits.append(_stacked([made.logits[step][beam] for step, beam in enumerate(rows)]))
        return Outputs(tokenizer.batch_decode(outputs, skip_special_tokens=True), logits)

    return generate


def _stacked(steps: list[Any]) -> Any:
    import torch

    return torch.stack(steps).float().cpu().numpy()


class _Reader:
    """From texts, or pairs of texts, to what a model takes, on its device."""

    def __init__(self, model: Any, tokenizer: Any, limit: int | None, *, padding_side: str | None = None) -> None:
        from elasticranker.model.families import MPNET, ROBERTA

        positions = getattr(model.config, "max_position_embeddings", None) or float("inf")
        if model.config.model_type in (*ROBERTA.types, *MPNET.types):
            positions -= model.config.pad_token_id + 1  # its positions start behind the padding token's
        allowed = min(positions, tokenizer.model_max_length)
        if limit is not None and not 1 <= limit <= allowed:
            raise ValueError(f"max_input_tokens must be between 1 and the model's {allowed:.0f}, but is {limit!r}")
        self.model, self.tokenizer, self.padding_side = model, tokenizer, padding_side
        self.limit, self.warned = int(min(limit or allowed, 2**31)), False

    def read(self, inputs: list[Any]) -> Any:
        """Token ids and masks, padded to the longest input.

        Raises:
            ValueError: An input is no text and no pair of texts, or has no tokens.
        """
        pairs = [value if isinstance(value, (tuple, list)) else (value,) for value in inputs]
        for value, pair in zip(inputs, pairs, strict=True):
            if len(pair) != len(pairs[0]) or not 1 <= len(pair) <= 2 or not all(isinstance(text, str) for text in pair):
                raise ValueError(
                    f"inputs must all be texts, or all be pairs of texts, but one is {reprlib.repr(value)}"
                )
        side = {} if self.padding_side is None else {"padding_side": self.padding_side}
        columns = [list(texts) for texts in zip(*pairs, strict=True)]
        read = self.tokenizer(
            *columns, padding=True, truncation=True, max_length=self.limit, return_tensors="pt", **side
        )
        if not self.warned and any(encoding.overflowing for encoding in read.encodings or ()):
            self.warned = True
            warnings.warn(f"inputs longer than max_input_tokens={self.limit} tokens are cut", stacklevel=2)
        for value, mask in zip(inputs, read["attention_mask"], strict=True):
            if not mask.any():
                raise ValueError(f"the input {value!r} has no tokens: leave it out")
        return read.to(self.model.device)
