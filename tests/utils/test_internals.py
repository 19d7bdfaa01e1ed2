"""torch, transformers, datasets and jsonargparse have what ftlight uses beyond what is public."""

from __future__ import annotations

import datasets
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from ftlight.utils import internals


def test_all_norms_that_keep_statistics_share_a_base() -> None:
    norms = [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.SyncBatchNorm(2), nn.InstanceNorm2d(2)]
    assert all(isinstance(norm, internals.NormBase) for norm in norms)
    assert not isinstance(nn.LayerNorm(2), internals.NormBase)


def test_operators_on_many_tensors() -> None:
    tensors = [torch.ones(2), torch.zeros(3)]
    internals.foreach_add_(tensors, 1)
    assert [t.tolist() for t in tensors] == [[2, 2], [1, 1, 1]]
    internals.foreach_sub_(tensors, [torch.tensor(1.0)] * 2)
    assert [t.tolist() for t in tensors] == [[1, 1], [0, 0, 0]]
    target = [torch.zeros(2, dtype=torch.bfloat16)]
    internals.foreach_copy_(target, [torch.full((2,), 0.5)])
    assert target[0].tolist() == [0.5, 0.5]


def test_fused_adamw_is_that_of_torch() -> None:
    options = {"lr": 0.1, "weight_decay": 0.01, "eps": 1e-8}
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    parameter.grad = torch.tensor([0.3, 0.1])
    ours, zeros = parameter.detach().clone(), [torch.zeros(2), torch.zeros(2)]
    torch.optim.AdamW([parameter], fused=True, **options).step()
    internals.fused_adamw_(
        [ours],
        [parameter.grad],
        [zeros[0]],
        [zeros[1]],
        [],
        [torch.ones(())],
        amsgrad=False,
        maximize=False,
        beta1=0.9,
        beta2=0.999,
        **options,
    )
    assert torch.equal(ours, parameter.detach())


def test_softmax_and_its_gradient() -> None:
    scores = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.softmax(scores, -1)
    assert torch.equal(internals.softmax(scores.detach(), -1, False), weights)
    above = torch.arange(12.0).reshape(3, 4)
    weights.backward(above)
    found = internals.softmax_backward(above, weights.detach(), -1, torch.float32)
    assert torch.equal(found, scores.grad)


def test_what_a_cpu_can_is_a_truth_value() -> None:
    assert isinstance(internals.cpu_has_bfloat16(), bool)


def test_compiled_modules_are_told() -> None:
    inside = nn.Linear(2, 2)
    whole = nn.Sequential(inside)
    assert not internals.is_compiled(whole.modules())
    inside.compile(backend="eager")  # the usual one takes seconds to import
    assert internals.is_compiled(whole.modules())
    assert not internals.came_compiled(whole)


def test_a_task_that_came_compiled_is_told() -> None:
    import lightning as L
    from lightning.pytorch.utilities.compile import from_compiled

    module = L.LightningModule()
    assert not internals.came_compiled(module)
    assert internals.came_compiled(from_compiled(torch.compile(module, backend="eager")))


def test_the_attention_of_a_model() -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    model = BertModel(BertConfig(**sizes, attn_implementation="eager"))
    assert internals.attention_of(model.config) == "eager"
    assert internals.can_set_attention(model)
    model.set_attn_implementation("sdpa")
    assert internals.attention_of(model.config) == "sdpa"
    assert not internals.can_set_attention(nn.Linear(2, 2))


def test_the_content_and_the_order_of_a_table() -> None:
    table = datasets.Dataset.from_dict({"a": [1, 2, 3]})
    same = datasets.Dataset.from_dict({"a": [1, 2, 3]})
    other = datasets.Dataset.from_dict({"a": [1, 2, 4]})
    assert internals.fingerprint_of(table) == internals.fingerprint_of(same)
    assert internals.fingerprint_of(table) != internals.fingerprint_of(other)
    assert internals.indices_of(table) is None
    assert internals.indices_of(table.select([2, 0])).tolist() == [2, 0]


def test_the_arguments_of_a_parser() -> None:
    class Made:
        def __init__(self, size: int = 3) -> None:
            self.size = size

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Made, "made")
    actions = {a.dest: a for a in internals.actions_of(parser)}
    assert internals.type_of(actions["made.size"]) is int
    assert internals.type_of(actions["help"]) == ""


def test_an_error_without_a_message_is_not_hidden() -> None:
    from jsonargparse import _typehints

    internals.let_errors_be_empty()
    with pytest.raises(ValueError, match="it has no message") as raised:
        _typehints.raise_union_unexpected_value([int], "x", [MemoryError()])
    assert isinstance(raised.value.__cause__, MemoryError)
    assert _typehints.indent_text("a\nb", first_line=False) == "a\n  b"
