"""Which parameters the selectors of a stage match."""

from __future__ import annotations

import pytest
from conftest import each

from ftlight.freezing.selection import select
from ftlight.utils.errors import UserError

LAYERS = {
    "embeddings": ["m.embed.weight", "m.embed.norm.weight", "m.embed.norm.bias"],
    **{
        f"layer {i}": [
            f"m.layer.{i}.dense.weight",
            f"m.layer.{i}.dense.bias",
            f"m.layer.{i}.ln.weight",
            f"m.layer.{i}.ln.bias",
        ]
        for i in range(12)
    },
    "post": ["m.norm.weight"],
    "head": ["classifier.weight", "classifier.bias"],
}
NORMS = frozenset(n for names in LAYERS.values() for n in names if ".norm." in n or ".ln." in n)
ALL = {n for names in LAYERS.values() for n in names}
HEAD = set(LAYERS["head"])


def of(*layers: str | int) -> set[str]:
    return {
        n for layer in layers for n in LAYERS[layer if isinstance(layer, str) else f"layer {layer}"]
    }


# Selecting


def test_select() -> None:
    def check(train: list[str], expected: set[str]) -> None:
        assert select(train, LAYERS, NORMS, "here") == expected
        assert select(tuple(train), LAYERS, set(NORMS), "here") == expected

    each(
        [
            (["all"], ALL),
            (["head"], HEAD),
            (["embeddings"], of("embeddings") | HEAD),
            (["post"], of("post") | HEAD),
            (["norm"], set(NORMS) | HEAD),
            (["bias"], {n for n in ALL if n.endswith(".bias")} | HEAD),
            (["last:1"], of(11, "post") | HEAD),
            (["last:3"], of(9, 10, 11, "post") | HEAD),
            (["last:12"], ALL - of("embeddings")),
            (["first:1"], of(0) | HEAD),
            (["first:2"], of(0, 1) | HEAD),
            (["first:12"], ALL - of("embeddings", "post")),
            (["layer:0"], of(0) | HEAD),
            (["layer:11"], of(11) | HEAD),
            (["layers:0-0"], of(0) | HEAD),
            (["layers:9-11"], of(9, 10, 11) | HEAD),
            (["re:m\\.layer\\.1\\..*"], of(1) | HEAD),
            (["re:m\\.layer\\.1.*"], of(1, 10, 11) | HEAD),
            (["re:classifier\\.bias"], HEAD),
            (["re:.*"], ALL),
            (["layer:1", "layer:3", "embeddings"], of(1, 3, "embeddings") | HEAD),
            (
                ["last:2", "bias"],
                of(10, 11, "post") | {n for n in ALL if n.endswith(".bias")} | HEAD,
            ),
            (["all", "-head"], ALL - HEAD),
            (["-head", "all"], ALL - HEAD),
            (["all", "-embeddings"], ALL - of("embeddings")),
            (["-embeddings", "all"], ALL - of("embeddings")),
            (
                ["all", "-norm", "-bias"],
                {n for n in ALL if n not in NORMS and not n.endswith(".bias")} | HEAD,
            ),
            (["last:3", "-layer:10"], of(9, 11, "post") | HEAD),
            (["last:3", "-layers:9-10", "-post"], of(11) | HEAD),
            (["all", "-first:6", "-head"], ALL - of(*range(6)) - HEAD),
            (["all", "-last:11"], of("embeddings", 0) | HEAD),
            (["head", "post", "-post"], HEAD),
            (["all", "-re:.*\\.bias"], {n for n in ALL if not n.endswith(".bias")} | HEAD),
            (["re:classifier\\..*", "norm", "-head"], set(NORMS)),
        ],
        check,
    )


def test_nothing_matched_lists_the_layers() -> None:
    def check(selector: str) -> None:
        with pytest.raises(UserError) as caught:
            select(["all", selector], LAYERS, NORMS, "model.unfreeze.2.train")
        rest = "the model has 12 layers (layer:0 to layer:11) and embeddings, post, head"
        assert str(caught.value) == f"model.unfreeze.2.train: {selector} matches nothing; {rest}"

    each(
        [
            "last:13",
            "first:13",
            "layer:12",
            "layers:10-12",
            "layers:5-3",
            "re:dense",
            "re:m\\.layer\\.1",
            "re:M\\..*",
            "-layer:12",
            "-re:x",
        ],
        check,
    )


def test_what_a_model_lacks_matches_nothing() -> None:
    def check(selector: str) -> None:
        with pytest.raises(
            UserError,
            match=f"^here: {selector} matches nothing; the model has 1 layer and embeddings$",
        ):
            select(["all", selector], {"embeddings": ["e"], "layer 0": ["l"]}, set(), "here")

    each(["head", "-head", "post", "norm"], check)


def test_nothing_left() -> None:
    def check(train: list[str]) -> None:
        with pytest.raises(UserError) as caught:
            select(train, LAYERS, NORMS, "here")
        assert str(caught.value) == f"here: [{', '.join(train)}] leaves nothing to train"

    each(
        [
            ["-head"],
            ["head", "-head"],
            ["all", "-all", "-head"],
            ["layer:1", "-layers:0-3", "-head"],
        ],
        check,
    )


def test_last_goes_by_what_can_train() -> None:
    layers = {f"layer {i}": [f"adapter.{i}"] for i in (4, 7)} | {"head": ["head.weight"]}
    assert select(["last:1"], layers, set(), "here") == {"adapter.7", "head.weight"}
    assert select(["last:2"], layers, set(), "here") == {"adapter.4", "adapter.7", "head.weight"}
    assert select(["layer:4"], layers, set(), "here") == {"adapter.4", "head.weight"}
