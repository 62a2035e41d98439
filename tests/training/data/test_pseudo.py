"""Queries made from documents: what they say, and what they never say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.training.data.pseudo import KINDS, keyword_queries, question_queries


def test_keyword_queries_are_rare_words_of_their_document_in_order():
    random = np.random.default_rng(0)
    documents = ["the quick brown fox", "the lazy brown dog", "the moon"]
    for query in keyword_queries(documents, random):
        words, text = query.text.split(), documents[query.positives[0]].split()
        assert [word for word in text if word in words] == words
        assert not query.judged


@pytest.mark.parametrize(
    ("document", "subject"),
    [
        ("Diffusion is the movement of particles.", "diffusion"),
        ("It moves. The divorce mediator means well.", "divorce mediator"),
        ("The Sahel was a trade route.", "sahel"),
        ("Resistors are parts.", "resistors"),
    ],
)
def test_a_question_names_what_its_document_explains(document, subject):
    (query,) = question_queries(["Nothing here.", document], np.random.default_rng(0))
    assert subject in query.text
    assert query.text != subject
    assert query.positives == [1]
    assert not query.judged


@pytest.mark.parametrize(
    "document", ["It is red.", "This movement was slow.", "What is it?", "He and the fox are here.", "is a fox", ""]
)
def test_a_document_that_explains_nothing_by_name_is_asked_nothing(document):
    assert question_queries([document], np.random.default_rng(0)) == []


@pytest.mark.parametrize("kind", KINDS)
@given(documents=st.lists(st.text(max_size=60), max_size=4))
def test_any_documents_are_asked_at_most_one_question_of_a_kind_each(kind, documents):
    queries = KINDS[kind](documents, np.random.default_rng(0))
    numbers = [query.positives for query in queries]
    assert numbers == sorted(numbers)
    assert len({number for (number,) in numbers}) == len(numbers)
    assert all(query.text.strip() for query in queries)
