"""Fused products give what the written-out ones give, and are taken only where they exist."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.model.products import ACTIVATIONS, choose, few_shapes, written_out

CPU = torch.device("cpu")


def tensors(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(24, 32), (48, 32), (48,), (24, 48)]  # x, weight, bias, residual
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_what_is_chosen_computes_what_is_written_out(activation, dtype, tolerance):
    x, weight, bias, residual = tensors(dtype)
    ours, plain = choose(activation, dtype, CPU, most=64), written_out(activation)
    with torch.inference_mode():
        for name, more in (("plain", ()), ("activated", ()), ("added", (residual,))):
            expected = getattr(plain, name)(x, weight, bias, *more)
            torch.testing.assert_close(getattr(ours, name)(x, weight, bias, *more), expected, atol=tolerance, rtol=1e-2)


def test_fused_kernels_are_left_alone_where_the_processor_or_the_device_lacks_them(monkeypatch):
    assert choose("gelu", torch.float32, torch.device("meta"), most=64).plain is torch.nn.functional.linear
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose("gelu", torch.float32, CPU, most=64).plain is torch.nn.functional.linear


@given(st.integers(1, 512).map(lambda n: 8 * n))
def test_blocks_add_up_and_have_few_sizes(rows):
    blocks = few_shapes(rows, most=4096)
    assert sum(blocks) == rows
    assert rows > 0.9 * 4096 or set(blocks) <= {1024, *range(128, 1024, 128), *range(8, 128, 8)}
