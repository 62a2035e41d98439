"""Arguments of `elasticranker serve`."""

from __future__ import annotations

import argparse
import sys

import pytest

from elasticranker.cli import build_parser, main
from elasticranker.commands import serve


def test_defaults_are_careful() -> None:
    args = build_parser().parse_args(["serve"])
    assert (args.host, args.port, args.slo, args.max_wait, args.static) == ("127.0.0.1", 8080, 0.2, None, None)


def test_times_and_shares_are_written_as_budgets_are() -> None:
    args = build_parser().parse_args(["serve", "--slo", "1.5 s", "--max-wait", "0", "--static", "25%"])
    assert (args.slo, args.max_wait, args.static) == (1.5, 0.0, 0.25)
    assert serve.share("full") == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slo", "fast"], "'fast': give a time"),
        (["--slo", "25%"], "'25%': give a time"),
        (["--static", "20 ms"], "'20 ms': give a share"),
        (["--port", "70000"], "'70000' is not a port"),
        (["--port", "-1"], "not a port"),
        (["--max-texts", "0"], "'0' is not a whole number from 1"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["serve", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert main(["serve"]) == 2
    assert 'pip install -e ".[serve]"' in capsys.readouterr().err


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="cannot listen on 999"):
        serve._bind("999.1.1.1", 80)


def test_texts_for_argparse_raise_its_error() -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        serve.seconds("0 ms")
