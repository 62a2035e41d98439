"""Clients that people already have, against a real server: nothing about them is changed but the address.

The SDKs are the real ones. Applications that are too large to install are here as the request bodies that they send
and the parts of the answer that they read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import requests

from elasticranker.serving.client import RerankClient
from tests.backbones import WORDS
from tests.planning.test_cost import elastic
from tests.serving.process import PATIENCE, serve

KEY = "secret"
QUERY = "how do i copy a folder"
TEXTS = [" ".join(WORDS[start : start + 6]) for start in range(0, 30, 3)]
INSTALL = "is not installed: pip install -e '.[test]'"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(elastic(tmp_path_factory.mktemp("source")).save(tmp_path_factory.mktemp("elastic")))


@pytest.fixture(scope="module")
def url(checkpoint: str) -> Iterator[str]:
    with serve("--model", checkpoint, "--slo", "60 s", ELASTICRANKER_API_KEY=KEY) as server:
        yield server.url


@pytest.fixture(scope="module")
def ask(url: str) -> Callable[..., Any]:
    """Sends a body as an application does, and reads the answer."""

    def send(path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {KEY}", "accept": "application/json"}
        answer = requests.post(f"{url}{path}", json=body, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return send


@pytest.fixture(scope="module")
def best(url: str) -> list[int]:
    """The places of the texts, best first."""
    return np.argsort(RerankClient(url, api_key=KEY).rerank(QUERY, TEXTS))[::-1].tolist()


@pytest.fixture(scope="module")
def relevance(ask: Callable[..., Any]) -> dict[int, float]:
    """Each text's relevance by its place."""
    return {rank["index"]: rank["score"] for rank in ask("/rerank", {"query": QUERY, "texts": TEXTS})}


@pytest.fixture
def sdk(url: str) -> Any:
    """Cohere's SDK with the server's address."""
    cohere = pytest.importorskip("cohere", reason=f"cohere {INSTALL}")
    return lambda client: getattr(cohere, client)(api_key=KEY, base_url=url)


@pytest.mark.parametrize("client", ["Client", "ClientV2"])
def test_coheres_sdk(sdk: Any, client: str, best: list[int], relevance: dict[int, float]) -> None:
    answer = sdk(client).rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS, top_n=3)
    assert [result.index for result in answer.results] == best[:3]
    assert [result.relevance_score for result in answer.results] == [relevance[place] for place in best[:3]]
    assert answer.meta.tokens.input_tokens > 0


def test_coheres_sdk_ranks_objects_by_their_fields(sdk: Any, ask: Callable[..., Any]) -> None:
    objects = [{"title": WORDS[place], "text": text, "year": str(place)} for place, text in enumerate(TEXTS)]
    answer = sdk("Client").rerank(
        model="rerank-english-v3.0",
        query=QUERY,
        documents=objects,
        rank_fields=["title", "text"],
        return_documents=True,
    )
    written = [f"title: {one['title']}\ntext: {one['text']}" for one in objects]
    expected = ask("/rerank", {"query": QUERY, "texts": written})
    assert [result.index for result in answer.results] == [rank["index"] for rank in expected]
    assert [result.relevance_score for result in answer.results] == [rank["score"] for rank in expected]
    assert [result.document.model_dump() for result in answer.results] == [objects[rank["index"]] for rank in expected]


def test_llama_index(url: str, best: list[int], relevance: dict[int, float]) -> None:
    module = pytest.importorskip(
        "llama_index.postprocessor.tei_rerank", reason=f"llama-index-postprocessor-tei-rerank {INSTALL}"
    )
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(id_=str(place), text=text), score=0.1) for place, text in enumerate(TEXTS)]
    reranker = module.TextEmbeddingInference(base_url=url, top_n=4, auth_token=f"Bearer {KEY}")
    found = reranker.postprocess_nodes(nodes, query_str=QUERY)
    assert [int(node.node.node_id) for node in found] == best[:4]
    assert [node.score for node in found] == [relevance[place] for place in best[:4]]


def test_langchain(url: str, best: list[int], relevance: dict[int, float]) -> None:
    module = pytest.importorskip("langchain_cohere", reason=f"langchain-cohere {INSTALL}")
    from langchain_core.documents import Document

    documents = [Document(text, metadata={"place": place}) for place, text in enumerate(TEXTS)]
    reranker = module.CohereRerank(base_url=url, cohere_api_key=KEY, model="any", top_n=4)
    found = reranker.compress_documents(documents, QUERY)
    assert [document.metadata["place"] for document in found] == best[:4]
    assert [document.metadata["relevance_score"] for document in found] == [relevance[place] for place in best[:4]]


def test_haystack(url: str, best: list[int], relevance: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    module = pytest.importorskip("haystack_integrations.components.rankers.cohere", reason=f"cohere-haystack {INSTALL}")
    from haystack import Document
    from haystack.utils import Secret

    documents = [Document(content=text, meta={"place": place}) for place, text in enumerate(TEXTS)]
    ranker = module.CohereRanker(api_base_url=url, api_key=Secret.from_token(KEY), top_k=4)
    found = ranker.run(query=QUERY, documents=documents)["documents"]
    assert [document.meta["place"] for document in found] == best[:4]
    assert [document.score for document in found] == [relevance[place] for place in best[:4]]


COHERE_FORM = {
    "Open WebUI": ("/v1/rerank", {"model": "reranker", "top_n": len(TEXTS)}),
    "RAGFlow, Xinference": ("/v1/rerank", {"model": "m", "return_documents": "true", "return_len": "true"}),
    "RAGFlow, OpenAI-compatible": ("/rerank", {"model": "m", "top_n": len(TEXTS)}),
    "RAGFlow, SiliconFlow": (
        "/v1/rerank",
        {
            "model": "m",
            "top_n": len(TEXTS),
            "return_documents": False,
            "max_chunks_per_doc": 1024,
            "overlap_tokens": 80,
        },
    ),
    "LightRAG": ("/v1/rerank", {"model": "m", "top_k": len(TEXTS)}),
    "LightRAG, Jina": ("/v1/rerank", {"model": "m", "top_n": len(TEXTS), "return_documents": False}),
    "Dify, OpenAI-compatible": ("/rerank", {"model": "m", "top_n": len(TEXTS)}),
    "Dify, Jina": ("/v1/rerank", {"model": "m", "top_n": None, "return_documents": False}),
    "Dify, Xinference": (
        "/v1/rerank",
        {
            "model": "m",
            "top_n": None,
            "max_chunks_per_doc": None,
            "return_documents": None,
            "return_len": None,
            "kwargs": "{}",
        },
    ),
    "vLLM": ("/rerank", {"model": "m", "top_n": 0, "truncate_prompt_tokens": None, "priority": 0}),
}


@pytest.mark.parametrize("application", COHERE_FORM)
def test_applications_that_send_coheres_form(
    application: str, ask: Callable[..., Any], best: list[int], relevance: dict[int, float]
) -> None:
    path, extra = COHERE_FORM[application]
    answer = ask(path, {"query": QUERY, "documents": TEXTS, **extra})
    assert [result["index"] for result in answer["results"]] == best
    assert {result["index"]: result["relevance_score"] for result in answer["results"]} == relevance
    assert answer["usage"]["total_tokens"] == sum(answer["meta"]["tokens"].values()) > 0


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/rerank", {"model": "m", "top_n": None}),  # Dify's LocalAI, and vLLM's clients: nobody asks, and all read it
        ("/v1/rerank", {"model": "m", "return_documents": "true", "return_len": "true"}),  # RAGFlow's Xinference
    ],
)
def test_applications_that_read_the_documents(path: str, extra: dict[str, Any], ask: Callable[..., Any]) -> None:
    results = ask(path, {"query": QUERY, "documents": TEXTS, **extra})["results"]
    assert [result["document"]["text"] for result in results] == [TEXTS[result["index"]] for result in results]


@pytest.mark.parametrize(
    "extra",
    [
        {"return_text": True},  # Dify
        {"raw_scores": False, "truncate": True},  # RAGFlow
        {"truncate": True, "truncation_direction": "Right"},  # Continue
    ],
)
def test_applications_that_send_text_embeddings_inferences_form(
    extra: dict[str, Any], ask: Callable[..., Any], best: list[int], relevance: dict[int, float]
) -> None:
    ranks = ask("/rerank", {"query": QUERY, "texts": TEXTS, **extra})
    assert [rank["index"] for rank in ranks] == best
    assert {rank["index"]: rank["score"] for rank in ranks} == relevance
    assert all(rank.get("text", TEXTS[rank["index"]]) == TEXTS[rank["index"]] for rank in ranks)


def test_applications_that_look_before_they_ask(url: str, checkpoint: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    info = requests.get(f"{url}/info", headers=headers, timeout=PATIENCE).json()
    assert next(iter(info["model_type"])) == "reranker"  # Dify
    assert info["max_client_batch_size"] >= 100
    models = requests.get(f"{url}/v1/models", headers=headers, timeout=PATIENCE).json()
    assert [model["id"] for model in models["data"]] == [checkpoint]
