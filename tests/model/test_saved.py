"""What a checkpoint says of its texts is honoured as sentence-transformers honours it, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker import ElasticRanker
from elasticranker.model.checkpoint import load
from elasticranker.model.export import export_hugging_face
from elasticranker.model.pairs import PairEncoder
from elasticranker.model.saved import limit_of, read_settings, read_tokenizer
from elasticranker.serving.scoring import RankerScorer, Task
from elasticranker.training.teachers.bi_encoder import BiEncoderTeacher
from tests.backbones import WORDS, save_backbone, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:texts longer than max_length")
ALL = ["bert", "electra", "roberta", "xlm-roberta"]
QUERY = "copy folder"
LONG = "the quick brown fox jumps over the lazy dog " * 12
TEXTS = ["river " * 60, LONG, "a deep river flows", "", "copy a whole folder " * 3]


def ours(folder: str | Path, query: str = QUERY, texts: list[str] = TEXTS) -> np.ndarray:
    frame = pd.DataFrame({"qid": "1", "query": query, "docno": [f"d{i}" for i in range(len(texts))], "text": texts})
    result = ElasticRanker(str(folder), dtype="float32")(frame)
    return result.set_index("docno").loc[frame["docno"], "score"].to_numpy()


def theirs(folder: str | Path, query: str = QUERY, texts: list[str] = TEXTS) -> np.ndarray:
    """One pair at a time: their batches change scores a little."""
    from torch.nn import Identity

    model = cross_encoder(folder)
    return np.array([model.predict([(query, text)], activation_fn=Identity())[0] for text in texts])


def cross_encoder(folder: str | Path, **arguments: Any) -> Any:
    made = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers").CrossEncoder
    return made(str(folder), device="cpu", **arguments)


def write(folder: str | Path, name: str, value: Any) -> None:
    (Path(folder) / name).write_text(json.dumps(value))


def change(folder: str | Path, name: str, **changes: Any) -> None:
    write(folder, name, json.loads((Path(folder) / name).read_text()) | changes)


def as_sentence_transformer(folder: str, **options: Any) -> str:
    """What version 6 writes beside a cross-encoder."""
    write(folder, "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.Transformer"}])
    write(folder, "sentence_bert_config.json", {"transformer_task": "sequence-classification"} | options)
    write(folder, "config_sentence_transformers.json", {"model_type": "CrossEncoder", "prompts": {}})
    return folder


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("limit", [24, 40])
def test_its_saved_limit_is_kept(tmp_path: Path, family: str, limit: int) -> None:
    saved = tmp_path / "saved"
    cross_encoder(save_backbone(tmp_path / "model", family), max_length=limit).save_pretrained(str(saved))
    for query in (QUERY, "how do i copy a whole folder " * 4):  # the longer text is cut, the query too where it must
        np.testing.assert_allclose(ours(saved, query), theirs(saved, query), atol=1e-4)
    again = ElasticRanker(str(saved)).save_pretrained(tmp_path / "elastic")
    np.testing.assert_allclose(ours(again), theirs(saved), atol=1e-4)


def test_a_limit_in_the_module_goes_before_the_tokenizers(tmp_path: Path) -> None:
    folder = as_sentence_transformer(save_backbone(tmp_path), max_seq_length=20)
    types = json.loads((tmp_path / "modules.json").read_text())
    types[0]["type"] = "sentence_transformers.base.modules.transformer.Transformer"
    write(folder, "modules.json", types)
    assert load(folder).longest == 20
    np.testing.assert_allclose(ours(folder), theirs(folder), atol=1e-4)


def test_without_a_limit_the_positions_are_one(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path, "roberta")
    change(folder, "tokenizer_config.json", model_max_length=10**30)
    checkpoint = load(folder)
    assert limit_of(checkpoint.tokenizer) is None
    assert checkpoint.longest == 70
    assert ours(folder).shape == (5,)


def test_a_limit_beyond_the_positions_is_the_positions(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path)
    change(folder, "tokenizer_config.json", model_max_length=512)
    assert load(folder).longest == 72
    np.testing.assert_allclose(ours(folder), theirs(folder), atol=1e-4)


@given(
    side=st.sampled_from(["left", "right"]),
    query=st.lists(st.sampled_from(WORDS), max_size=30),
    document=st.lists(st.sampled_from(WORDS), max_size=30),
    limit=st.integers(11, 40),
)
def test_pairs_are_cut_as_the_tokenizer_cuts_them(side: str, query: list[str], document: list[str], limit: int) -> None:
    made = tokenizer("bert")
    made.truncation_side = side
    encoder = PairEncoder(made, max_length=limit, max_query_length=8)
    encoder.longest_query = limit  # the tokenizer knows no limit of the query's own
    pair = encoder.pair(*encoder.tokens([" ".join(query), " ".join(document)]))
    expected = made([" ".join(query)], [" ".join(document)], truncation=True, max_length=limit)["input_ids"][0]
    batch = encoder.batch([pair], *encoder.bucket(pair))
    assert batch.ids[0, : encoder.length(pair)].tolist() == expected


@pytest.mark.parametrize("family", ALL)
def test_the_tokenizers_side_is_kept(tmp_path: Path, family: str) -> None:
    folder = save_backbone(tmp_path / "model", family)
    change(folder, "tokenizer_config.json", truncation_side="left")
    texts = [*TEXTS, "river " * 30 + LONG]
    np.testing.assert_allclose(ours(folder, texts=texts), theirs(folder, texts=texts), atol=1e-4)
    again = ElasticRanker(folder).save_pretrained(tmp_path / "elastic")
    np.testing.assert_allclose(ours(again, texts=texts), theirs(folder, texts=texts), atol=1e-4)


@pytest.mark.parametrize("family", ALL)
def test_a_default_prompt_is_put_before_queries(tmp_path: Path, family: str) -> None:
    prompted, plain = tmp_path / "prompted", save_backbone(tmp_path / "model", family)
    cross_encoder(plain, prompts={"q": "how do i "}, default_prompt_name="q").save_pretrained(str(prompted))
    expected = theirs(prompted)
    assert np.abs(expected - theirs(plain)).max() > 0.01
    np.testing.assert_allclose(ours(prompted), expected, atol=1e-4)
    again = ElasticRanker(str(prompted)).save_pretrained(tmp_path / "elastic")
    np.testing.assert_allclose(ours(again), expected, atol=1e-4)


def test_the_server_puts_it_there_too(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    made = cross_encoder(save_backbone(tmp_path / "model"), prompts={"q": "how do i "}, default_prompt_name="q")
    made.save_pretrained(str(folder))
    scorer = RankerScorer(ElasticRanker(str(folder), dtype="float32"))
    prepared = scorer.prepare(QUERY, TEXTS)
    (scored,) = scorer.rank([Task(prepared, 1.0, prepared.cost)])
    np.testing.assert_allclose(scored.scores, np.sort(theirs(folder))[::-1], atol=1e-4)


def test_prompts_without_a_default_are_left_aside(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    cross_encoder(save_backbone(tmp_path / "model"), prompts={"q": "how do i "}).save_pretrained(str(folder))
    assert load(folder).prompt == ""
    np.testing.assert_allclose(ours(folder), theirs(folder), atol=1e-4)


def test_a_long_prompt_takes_nothing_from_the_query(tmp_path: Path) -> None:
    made = tokenizer("bert")
    encoder = PairEncoder(made, max_length=40, max_query_length=4, prompt="how do i copy the whole folder ")
    (query,) = encoder.queries(["red green blue one two"])
    assert made.convert_ids_to_tokens(encoder.pair(query, query[:0]).query)[7:] == ["red", "green", "blue", "one"]


def test_an_export_that_would_lose_the_prompt_is_refused(tmp_path: Path) -> None:
    folder = as_sentence_transformer(save_backbone(tmp_path / "model"))
    change(folder, "config_sentence_transformers.json", prompts={"q": "how "}, default_prompt_name="q")
    with pytest.raises(ValueError, match="prompt 'how ' before queries"):
        export_hugging_face(load(folder), tmp_path / "plain", depth=3)


REFUSED = [
    ("sentence_bert_config.json", {"do_lower_case": True, "processing_kwargs": {"text": {"max_length": 9}}}, "proces"),
    ("sentence_bert_config.json", {"tokenizer_args": {"add_prefix_space": True}}, "tokenizer_args"),
    ("sentence_bert_config.json", {"modality_config": {"message": {"method": "forward"}}}, "modality_config"),
    ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "text-generation"),
    ("config_sentence_transformers.json", {"default_prompt_name": "absent"}, "'absent' before queries, but"),
]


@pytest.mark.parametrize(("file", "changes", "message"), REFUSED)
def test_what_is_not_done_here_is_refused_by_name(
    tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    folder = as_sentence_transformer(save_backbone(tmp_path))
    change(folder, file, **changes)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_modules_that_make_no_known_head_are_refused(tmp_path: Path) -> None:
    folder = as_sentence_transformer(save_backbone(tmp_path))
    modules = json.loads((tmp_path / "modules.json").read_text())
    write(folder, "modules.json", [*modules, {"idx": 1, "path": "1_Dense", "type": "sentence_transformers.Dense"}])
    with pytest.raises(ValueError, match=r"the modules Dense behind its encoder; known here are Pooling, Dense, or"):
        load(folder)


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("text", ["a {} river", "{} river", "river {}", "a {} {} river flows {} deep"])
def test_special_tokens_spelt_out_are_read_as_the_model_reads_them(tmp_path: Path, family: str, text: str) -> None:
    folder = save_backbone(tmp_path, family)
    made = read_tokenizer(folder)
    spelt = [text.replace("{}", special) for special in (made.pad_token, made.sep_token, made.unk_token)]
    np.testing.assert_allclose(ours(folder, texts=spelt), theirs(folder, texts=spelt), atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_folder_without_its_tokenizer_is_refused(tmp_path: Path, family: str) -> None:
    folder = save_backbone(tmp_path, family)
    (tmp_path / "tokenizer.json").unlink()
    for kind in ("BertTokenizer", "RobertaTokenizer", None):
        change(folder, "tokenizer_config.json", tokenizer_class=kind)
        with pytest.raises(ValueError, match=r"has no tokenizer \(one of tokenizer\.json, vocab\.txt"):
            load(folder)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path)
    made = tokenizer("bert")
    made.add_tokens(["another"])
    made.save_pretrained(folder)
    with pytest.raises(ValueError, match="makes 47 different tokens, the model knows 46"):
        load(folder)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["cls", "max"]}, "cls+max"),
        ({}, "mean"),
    ],
)
def test_a_bi_encoder_says_how_it_pools(tmp_path: Path, pooling: dict[str, Any], expected: str) -> None:
    folder = bi_encoder(tmp_path, pooling)
    assert read_settings(folder, read_tokenizer(folder), kind="SentenceTransformer").pooling == expected


def bi_encoder(folder: Path, pooling: dict[str, Any]) -> str:
    made = save_backbone(folder, labels=None)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    write(made, "modules.json", [{"idx": n, "name": str(n)} | module for n, module in enumerate(modules)])
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    write(folder / "1_Pooling", "config.json", {"word_embedding_dimension": 32} | pooling)
    write(made, "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": False})
    prompts = {"query": "how do ", "passage": "a "}
    write(made, "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    return made


@pytest.mark.parametrize("kind", ["cls", "mean"])
def test_a_bi_encoder_teaches_as_it_was_saved(tmp_path: Path, kind: str) -> None:
    package = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    folder = bi_encoder(
        tmp_path, {f"pooling_mode_{m}_tokens".replace("cls_tokens", "cls_token"): m == kind for m in ("cls", "mean")}
    )
    teacher = BiEncoderTeacher(folder, dtype=__import__("torch").float32)
    model = package.SentenceTransformer(folder, device="cpu")
    texts = ["copy the folder", LONG]
    for made, prompt in ((teacher.queries(texts), "query"), (teacher.documents(texts), "passage")):
        expected = model.encode(texts, prompt_name=prompt, normalize_embeddings=True)
        np.testing.assert_allclose(made.astype(np.float32), expected, atol=2e-3)


def test_a_bi_encoder_that_pools_otherwise_does_not_teach(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pools by max"):
        BiEncoderTeacher(bi_encoder(tmp_path, {"pooling_mode": "max"}))
