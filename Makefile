.PHONY: install test lint docs demo notebooks results

install:  # on a machine without a GPU install a CPU build of torch first
	pip install -e ".[test,docs]"

test:
	pytest

lint:
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-logo

docs:  # into build/docs
	sphinx-build -q -W --keep-going -c .ci/docs elasticranker/pt_docs build/docs

demo:
	elasticranker demo

DATA ?= data
results:  # everything that README and documentation quote; DATA holds the collections
	python -m experiments.measure $(DATA)

notebooks:  # run them from scratch and keep what they show: some minutes each
	python -m experiments.notebooks
