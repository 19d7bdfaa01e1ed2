"""Windows in parts give what they give together; their values are pooled by row."""

from __future__ import annotations

import pytest
import torch
from conftest import each

from ftlight.models.windows import in_parts, pooled


def test_values_are_pooled_by_row_as_in_a_loop() -> None:
    def check(shape: list[int]) -> None:
        values, counts = torch.randn(6, *shape), torch.tensor([1, 3, 2])
        rows = values.split(counts.tolist())
        means, most = pooled(values, counts, "mean"), pooled(values, counts, "max")
        assert torch.allclose(means, torch.stack([row.mean(0) for row in rows]))
        assert torch.equal(most, torch.stack([row.amax(0) for row in rows]))

    torch.manual_seed(0)
    each([[], [4], [2, 3]], check)


@pytest.mark.parametrize("trains", [True, False])
def test_parts_give_the_same_values_and_gradients(trains: bool) -> None:
    def run(part: dict[str, torch.Tensor]) -> torch.Tensor:
        calls.append(len(part["x"]))
        return layer(part["x"]).tanh()

    torch.manual_seed(0)
    layer, x = torch.nn.Linear(3, 2), torch.randn(7, 3)
    gradients, values = [], []
    for most in (7, 3):
        calls: list[int] = []
        values.append(torch.cat(in_parts(run, {"x": x}, most, trains)))
        assert calls == ([7] if most == 7 else [3, 3, 1])
        gradients.append(torch.autograd.grad(values[-1].sum(), layer.weight)[0])
        # each part is run again for its gradient
        assert len(calls) == (1 if most == 7 else 6 if trains else 3)
    assert torch.allclose(*values)
    assert torch.allclose(*gradients)
