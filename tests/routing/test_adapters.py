"""Joint inference over tiny random models of the real transformers classes."""

import math

import numpy as np
import pytest
import torch

from elasticranker.routing import JointInference, Outputs, classifier, energies, generator
from tests.backbones import save_backbone
from tests.routing.tiny import ENDS, TEXTS, gpt2, t5

PAIRS = [("what is a river", "water flows deep"), ("who was the fox", "the sun"), ("one", "two three four")]


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """A tiny classifier of a family, with its tokenizer."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    def made(family="bert", labels=3, layers=3):
        folder = save_backbone(tmp_path_factory.mktemp(family), family, labels, layers)
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        return model, AutoTokenizer.from_pretrained(folder)

    return made


# Classifiers.


@pytest.mark.parametrize("family", ["bert", "electra", "roberta"])
@pytest.mark.parametrize("inputs", [TEXTS, PAIRS], ids=["texts", "pairs"])
def test_a_classifier_gives_the_models_own_logits_and_their_best_class(load, family, inputs):
    model, tokenizer = load(family)
    outputs = classifier(model, tokenizer)(inputs)
    for value, prediction, logits in zip(inputs, outputs.predictions, outputs.logits, strict=True):
        alone = tokenizer(*([value] if isinstance(value, str) else value), return_tensors="pt")
        with torch.no_grad():
            expected = model(**alone).logits[0]
        assert logits == pytest.approx(expected.numpy(), abs=1e-5)
        assert prediction == int(expected.argmax())


def test_two_classifiers_share_the_inputs_exactly(load):
    swift, super = (classifier(*load(layers=layers)) for layers in (1, 3))
    joint = JointInference(swift, super, super_share=0.4)
    outputs = joint(TEXTS)
    assert outputs.to_super.sum() == 2
    answers = np.where(outputs.to_super, super(TEXTS).predictions, swift(TEXTS).predictions)
    assert outputs.predictions == answers.tolist()
    assert outputs.energies == pytest.approx([energies.free(row.astype(float)) for row in swift(TEXTS).logits])
    again = joint(TEXTS)
    assert again.predictions == outputs.predictions and (again.energies == outputs.energies).all()


def test_two_classifiers_are_calibrated_to_the_accurate_ones_quality(load):
    swift, super = (classifier(*load(layers=layers)) for layers in (1, 3))
    labels = super(TEXTS).predictions
    joint = JointInference(swift, super).calibrate(TEXTS, labels, tolerance=0.0)
    outputs = joint(TEXTS)
    assert outputs.predictions == labels
    rest = [energy for energy, there in zip(outputs.energies, outputs.to_super, strict=True) if not there]
    assert rest and max(rest) < joint.threshold  # Swift is trusted with what it got right, and with no more


def test_an_energy_is_the_same_alone_and_in_any_batch(load):
    swift = classifier(*load())
    together = JointInference(swift, swift, threshold=9e9)(TEXTS).energies
    one_by_one = JointInference(swift, swift, threshold=9e9, batch_size=1)(TEXTS).energies
    assert together == pytest.approx(one_by_one, abs=1e-5)


def test_a_model_in_training_answers_without_dropout(load):
    model, tokenizer = load()
    model.train()
    classify = classifier(model, tokenizer)
    assert (classify(TEXTS).logits == classify(TEXTS).logits).all()


def test_regression_has_no_energy(load):
    with pytest.raises(ValueError, match=r"BertForSequenceClassification is a regression \(num_labels=1"):
        classifier(*load(labels=1))
    model, tokenizer = load(labels=2)
    for kind, wrong in {"regression": "is a regression", "multi_label_classification": "several labels"}.items():
        model.config.problem_type = kind
        with pytest.raises(ValueError, match=wrong):
            classifier(model, tokenizer)


def test_a_damaged_model_is_refused_with_the_first_input_named(load):
    model, tokenizer = load()
    torch.nn.init.constant_(model.classifier.weight, math.nan)
    with pytest.raises(ValueError, match=r"input 0 \('the quick brown fox'\) NaN"):
        JointInference(classifier(model, tokenizer), classifier(*load()), super_share=0.5)(TEXTS)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_long_inputs_are_cut_where_the_model_ends_with_one_warning(load, family):
    model, tokenizer = load(family)
    tokenizer.model_max_length = 10**30
    classify = classifier(model, tokenizer)
    with pytest.warns(UserWarning, match="max_input_tokens=(72|70) tokens are cut") as caught:
        assert np.isfinite(classify(["fox " * 500, "sun"]).logits).all()
        classify(["moon " * 500])
    assert len(caught) == 1
    with pytest.raises(ValueError, match="max_input_tokens must be between 1 and"):
        classifier(model, tokenizer, max_input_tokens=100)


def test_short_inputs_are_not_warned_about(load, recwarn):
    classifier(*load())(TEXTS)
    assert not [warning for warning in recwarn if "are cut" in str(warning.message)]


@pytest.mark.parametrize("wrong", [None, float("nan"), ("a",) * 3, ("a", None), ("one", "two")])
def test_what_is_no_text_is_named(load, wrong):
    with pytest.raises(ValueError, match="texts, or all be pairs of texts, but one is"):
        classifier(*load())(["fox", wrong])


def test_a_model_that_generates_is_no_classifier():
    model, tokenizer = gpt2()
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel gave logits of shape .*generator\(\)"):
        classifier(model, tokenizer)(TEXTS)


# Generators.


def forced(model, tokenizer, text, tokens):
    """The logits of each step that leads to an output, from one pass over the whole output: no `generate` here."""
    read = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            start = [model.config.decoder_start_token_id, *tokens[:-1]]
            given = {name: read[name] for name in ("input_ids", "attention_mask")}
            return model(**given, decoder_input_ids=torch.tensor([start])).logits[0]
        prompt = read["input_ids"][0].tolist()
        return model(torch.tensor([prompt + tokens[:-1]])).logits[0, len(prompt) - 1 :]


def generated(model, tokenizer, text, **settings):
    """The tokens that greedy or beam search makes of one text, up to and with the first end."""
    read = tokenizer(text, return_tensors="pt")
    given = {name: read[name] for name in ("input_ids", "attention_mask")}
    settings = {"pad_token_id": tokenizer.pad_token_id, "max_new_tokens": 12, "eos_token_id": ENDS, **settings}
    tokens = model.generate(**given, **settings)[0].tolist()
    tokens = tokens[1 if model.config.is_encoder_decoder else read["input_ids"].shape[1] :]
    ends = [place + 1 for place, token in enumerate(tokens) if token in ENDS]
    return tokens[: min(ends, default=len(tokens))]


@pytest.mark.parametrize("make", [t5, gpt2])
@pytest.mark.parametrize("beams", [1, 3])
def test_the_energy_is_the_mean_over_the_steps_up_to_the_first_end(make, beams):
    model, tokenizer = make()
    settings = {"max_new_tokens": 12, "eos_token_id": ENDS, "num_beams": beams}
    swift = generator(model, tokenizer, **settings)
    outputs, lengths = swift(TEXTS), set()
    joint = JointInference(swift, swift, threshold=9e9)(TEXTS)
    for text, prediction, logits, energy in zip(
        TEXTS, outputs.predictions, outputs.logits, joint.energies, strict=True
    ):
        tokens = generated(model, tokenizer, text, num_beams=beams)
        expected = forced(model, tokenizer, text, tokens).double().numpy()
        assert prediction == tokenizer.decode(tokens, skip_special_tokens=True)
        assert logits == pytest.approx(expected, abs=1e-5)
        assert energy == pytest.approx(-np.log(np.exp(expected).sum(axis=1)).mean(), abs=1e-5)
        lengths.add(len(tokens))
    assert len(lengths) > 2  # so that most were padded


@pytest.mark.parametrize("make", [t5, gpt2])
def test_generation_doesnt_depend_on_the_batch_and_repeats_itself(make):
    swift = generator(*make(), max_new_tokens=12, eos_token_id=ENDS)
    together, again = (JointInference(swift, swift, threshold=9e9)(TEXTS) for _ in range(2))
    one_by_one = JointInference(swift, swift, threshold=9e9, batch_size=1)(TEXTS)
    assert together.predictions == again.predictions == one_by_one.predictions
    assert (together.energies == again.energies).all()
    assert together.energies == pytest.approx(one_by_one.energies, abs=1e-5)


def test_a_generator_asks_super_for_what_it_is_least_sure_of():
    swift = generator(*t5(), max_new_tokens=12, eos_token_id=ENDS)
    asked = []

    def super(inputs):
        asked.extend(inputs)
        return Outputs([text.upper() for text in inputs])

    outputs = JointInference(swift, super, energy="entropy", super_share=0.4)(TEXTS)
    assert asked == [text for text, there in zip(TEXTS, outputs.to_super, strict=True) if there]
    assert len(asked) == 2
    assert [text.isupper() for text in outputs.predictions] == outputs.to_super.tolist()


def test_a_model_without_an_end_runs_to_the_last_step():
    model, tokenizer = t5()
    model.generation_config.eos_token_id = None
    assert [len(steps) for steps in generator(model, tokenizer, max_new_tokens=5)(TEXTS[:2]).logits] == [5, 5]


def test_decoders_are_padded_on_the_left_whatever_their_tokenizers_side():
    model, tokenizer = gpt2()
    tokenizer.padding_side = "right"
    swift = generator(model, tokenizer, max_new_tokens=4)
    assert swift(TEXTS).predictions == [swift([text]).predictions[0] for text in TEXTS]
    assert tokenizer.padding_side == "right"


def test_what_cannot_be_told_from_padding_or_input_from_input_is_refused(load):
    model, tokenizer = t5()
    for argument in ({"num_return_sequences": 2}, {"stop_strings": ["fox"]}, {"output_logits": False}):
        with pytest.raises(ValueError, match=f"{next(iter(argument))}=.*leave it out"):
            generator(model, tokenizer, **argument)
    with pytest.raises(ValueError, match="BertForSequenceClassification can't generate"):
        generator(*load())
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no padding token"):
        generator(model, tokenizer)


def test_a_text_without_tokens_is_refused_by_a_decoder():
    model, tokenizer = gpt2()
    tokenizer.backend_tokenizer.post_processor = None
    with pytest.raises(ValueError, match="input '' has no tokens"):
        generator(model, tokenizer, max_new_tokens=2)(["fox", ""])
