"""Fused products give what the written-out ones give, and are taken only where they exist."""

import pytest
import torch

from elasticranker.model.products import ACTIVATIONS, choose, written_out

CPU = torch.device("cpu")


def tensors(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(24, 32), (48, 32), (48,), (24, 48)]  # x, weight, bias, residual
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_what_is_chosen_computes_what_is_written_out(activation, dtype, tolerance):
    x, weight, bias, residual = tensors(dtype)
    ours, plain = choose(activation, dtype, CPU), written_out(activation)
    with torch.inference_mode():
        for name, more in (("plain", ()), ("activated", ()), ("added", (residual,))):
            expected = getattr(plain, name)(x, weight, bias, *more)
            torch.testing.assert_close(getattr(ours, name)(x, weight, bias, *more), expected, atol=tolerance, rtol=1e-2)


def test_fused_kernels_are_left_alone_where_the_processor_or_the_device_lacks_them(monkeypatch):
    assert choose("gelu", torch.float32, torch.device("meta")).plain is torch.nn.functional.linear
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose("gelu", torch.float32, CPU).plain is torch.nn.functional.linear
