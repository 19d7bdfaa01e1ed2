from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import transformers
from conftest import each
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ftlight.models.layers import (
    Stack,
    layer_groups,
    layer_of,
    module_layers,
    norm_parameters,
    stacks,
)
from ftlight.models.pooling import Pooled

BASE = {"vocab_size": 50, "num_labels": 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
USUAL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
TEXT = {**BASE, **USUAL}
DECODER = {**TEXT, "num_key_value_heads": 1, "head_dim": 8}
NO_HEAD_DIM = {k: v for k, v in DECODER.items() if k != "head_dim"}
DISENTANGLED = {**TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
SEQ2SEQ = {
    **BASE,
    **{
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    },
    **{
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "max_position_embeddings": 32,
        "decoder_start_token_id": 2,
    },
}
T5 = {
    **BASE,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
XLM = {**BASE, "emb_dim": 16, "n_layers": 3, "n_heads": 2, "max_position_embeddings": 32}
IMAGES = {"image_size": 32, "patch_size": 8, "num_labels": 3}
VISION = {**IMAGES, **{k: v for k, v in USUAL.items() if k != "max_position_embeddings"}}
CONVOLUTIONS = {"num_labels": 3, "hidden_sizes": [8, 16, 32], "depths": [1, 2, 1]}
CLIP = {"vision_config": {k: v for k, v in VISION.items() if k != "num_labels"}, "num_labels": 3}
TEXT_HEAD, CAUSAL, SUMMARY, IMAGE = (
    "ForSequenceClassification",
    "ForCausalLM",
    "ForSeq2SeqLM",
    "ForImageClassification",
)


class Family(NamedTuple):
    """What a family is built from, and what its parts are, said by hand.

    ``lists`` has the number of layers and the names of the lists of each stack, ``after`` what
    follows the last layer, and ``joins`` what follows another one: all inside the backbone.
    """

    kind: str
    sizes: dict[str, Any]
    lists: list[tuple[int, list[str]]]
    after: Sequence[str] = ()
    joins: Sequence[tuple[str, int]] = ()
    name: str = ""


def three(path: str) -> list[tuple[int, list[str]]]:
    return [(3, [path])]


FAMILIES: dict[str, Family] = {
    # encoders
    "bert": Family(TEXT_HEAD, TEXT, three("encoder.layer"), ["pooler"]),
    "roberta": Family(TEXT_HEAD, TEXT, three("encoder.layer")),
    "xlm-roberta": Family(TEXT_HEAD, TEXT, three("encoder.layer")),
    "camembert": Family(TEXT_HEAD, TEXT, three("encoder.layer")),
    "distilbert": Family(
        TEXT_HEAD,
        {
            **BASE,
            "dim": 16,
            "n_layers": 3,
            "n_heads": 2,
            "hidden_dim": 32,
            "max_position_embeddings": 32,
        },
        three("transformer.layer"),
    ),
    "electra": Family(TEXT_HEAD, {**TEXT, "embedding_size": 8}, three("encoder.layer")),
    "mpnet": Family(TEXT_HEAD, TEXT, three("encoder.layer")),
    "deberta": Family(TEXT_HEAD, DISENTANGLED, three("encoder.layer")),
    "deberta-v2": Family(
        TEXT_HEAD, {**DISENTANGLED, "norm_rel_ebd": "layer_norm"}, three("encoder.layer")
    ),
    "deberta-v2, convolution": Family(
        TEXT_HEAD,
        {**DISENTANGLED, "conv_kernel_size": 3},
        three("encoder.layer"),
        joins=[("encoder.conv", 0)],
        name="deberta-v2",
    ),
    "albert": Family(
        TEXT_HEAD, {**TEXT, "embedding_size": 8}, [(1, ["encoder.albert_layer_groups"])], ["pooler"]
    ),
    "albert, groups": Family(
        TEXT_HEAD,
        {**TEXT, "embedding_size": 8, "num_hidden_groups": 3},
        three("encoder.albert_layer_groups"),
        ["pooler"],
        name="albert",
    ),
    "modernbert": Family(TEXT_HEAD, TEXT, three("layers"), ["final_norm"]),
    "roformer": Family(TEXT_HEAD, TEXT, three("encoder.layer")),
    "esm": Family(
        TEXT_HEAD, TEXT, three("encoder.layer"), ["encoder.emb_layer_norm_after", "contact_head"]
    ),
    "megatron-bert": Family(TEXT_HEAD, TEXT, three("encoder.layer"), ["encoder.ln", "pooler"]),
    "gte": Family(TEXT_HEAD, TEXT, three("layers"), ["pooler"]),
    "roberta-prelayernorm": Family(TEXT_HEAD, TEXT, three("encoder.layer"), ["LayerNorm"]),
    "xlm-roberta-xl": Family(TEXT_HEAD, TEXT, three("encoder.layer"), ["encoder.LayerNorm"]),
    "xlnet": Family(
        TEXT_HEAD, {**BASE, "d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32}, three("layer")
    ),
    "xlm": Family(TEXT_HEAD, XLM, [(3, ["attentions", "layer_norm1", "ffns", "layer_norm2"])]),
    "flaubert": Family(TEXT_HEAD, XLM, [(3, ["attentions", "layer_norm1", "ffns", "layer_norm2"])]),
    # decoders
    "gpt2": Family(
        TEXT_HEAD,
        {**BASE, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32},
        three("h"),
        ["ln_f"],
    ),
    "gpt2, tied": Family(
        CAUSAL,
        {**BASE, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32},
        three("h"),
        ["ln_f"],
        name="gpt2",
    ),
    "gpt_neox": Family(TEXT_HEAD, TEXT, three("layers"), ["final_layer_norm"]),
    "opt": Family(
        TEXT_HEAD,
        {**TEXT, "ffn_dim": 32, "word_embed_proj_dim": 16},
        three("decoder.layers"),
        ["decoder.final_layer_norm"],
    ),
    "bloom": Family(
        TEXT_HEAD, {**BASE, "hidden_size": 16, "n_layer": 3, "n_head": 2}, three("h"), ["ln_f"]
    ),
    "bloom, tied": Family(
        CAUSAL,
        {**BASE, "hidden_size": 16, "n_layer": 3, "n_head": 2},
        three("h"),
        ["ln_f"],
        name="bloom",
    ),
    "falcon": Family(TEXT_HEAD, TEXT, three("h"), ["ln_f"]),
    "llama": Family(TEXT_HEAD, DECODER, three("layers"), ["norm"]),
    "llama, untied": Family(
        CAUSAL, {**DECODER, "tie_word_embeddings": False}, three("layers"), ["norm"], name="llama"
    ),
    "llama, tied": Family(
        CAUSAL, {**DECODER, "tie_word_embeddings": True}, three("layers"), ["norm"], name="llama"
    ),
    "mistral": Family(TEXT_HEAD, DECODER, three("layers"), ["norm"]),
    "qwen2": Family(TEXT_HEAD, NO_HEAD_DIM, three("layers"), ["norm"]),
    "qwen3": Family(TEXT_HEAD, DECODER, three("layers"), ["norm"]),
    "gemma": Family(TEXT_HEAD, DECODER, three("layers"), ["norm"]),
    "phi": Family(TEXT_HEAD, NO_HEAD_DIM, three("layers"), ["final_layernorm"]),
    # encoder and decoder
    "t5": Family(
        TEXT_HEAD,
        T5,
        [(2, ["encoder.block"]), (3, ["decoder.block"])],
        ["decoder.final_layer_norm"],
        [("encoder.final_layer_norm", 1)],
    ),
    "t5, tied": Family(
        SUMMARY,
        T5,
        [(2, ["encoder.block"]), (3, ["decoder.block"])],
        ["decoder.final_layer_norm"],
        [("encoder.final_layer_norm", 1)],
        "t5",
    ),
    "bart": Family(TEXT_HEAD, SEQ2SEQ, [(2, ["encoder.layers"]), (3, ["decoder.layers"])]),
    "bart, tied": Family(
        SUMMARY, SEQ2SEQ, [(2, ["encoder.layers"]), (3, ["decoder.layers"])], name="bart"
    ),
    "mbart": Family(
        TEXT_HEAD,
        SEQ2SEQ,
        [(2, ["encoder.layers"]), (3, ["decoder.layers"])],
        ["decoder.layer_norm"],
        [("encoder.layer_norm", 1)],
    ),
    "pegasus, tied": Family(
        SUMMARY,
        SEQ2SEQ,
        [(2, ["encoder.layers"]), (3, ["decoder.layers"])],
        ["decoder.layer_norm"],
        [("encoder.layer_norm", 1)],
        "pegasus",
    ),
    # images
    "vit": Family(IMAGE, VISION, three("layers"), ["layernorm"]),
    "deit": Family("DeiTForImageClassification", VISION, three("layers"), ["layernorm"]),
    "beit": Family(IMAGE, VISION, three("layers"), ["pooler"]),
    "dinov2": Family(IMAGE, VISION, three("encoder.layer"), ["layernorm"]),
    "clip": Family(
        IMAGE, CLIP, three("vision_model.encoder.layers"), ["vision_model.post_layernorm"]
    ),
    "siglip": Family(
        IMAGE,
        CLIP,
        three("vision_model.encoder.layers"),
        ["vision_model.post_layernorm", "vision_model.head"],
    ),
    "swin": Family(
        IMAGE,
        {
            **IMAGES,
            "patch_size": 4,
            "embed_dim": 8,
            "depths": [1, 2],
            "num_heads": [2, 2],
            "window_size": 4,
        },
        [(2, ["encoder.layers"])],
        ["layernorm"],
    ),
    "convnext": Family(
        IMAGE, {**CONVOLUTIONS, "num_stages": 3}, three("encoder.stages"), ["layernorm"]
    ),
    "convnextv2": Family(
        IMAGE, {**CONVOLUTIONS, "num_stages": 3}, three("encoder.stages"), ["layernorm"]
    ),
    "resnet": Family(IMAGE, {**CONVOLUTIONS, "embedding_size": 8}, three("encoder.stages")),
    "mobilenet_v2": Family(
        IMAGE,
        {"image_size": 32, "num_labels": 3, "depth_multiplier": 0.25},
        [(16, ["layer"])],
        ["conv_1x1"],
    ),
    "pvt": Family(
        IMAGE,
        {
            **{
                "image_size": 32,
                "num_labels": 3,
                "num_encoder_blocks": 2,
                "depths": [1, 2],
                "sequence_reduction_ratios": [2, 1],
            },
            **{
                "hidden_sizes": [8, 16],
                "patch_sizes": [4, 2],
                "strides": [4, 2],
                "num_attention_heads": [1, 2],
                "mlp_ratios": [2, 2],
            },
        },
        [(2, ["encoder.patch_embeddings", "encoder.block"])],
        ["encoder.layer_norm"],
    ),
}
POOLED = (
    "bert",
    "roberta",
    "mpnet",
    "distilbert",
    "deberta-v2",
    "albert",
    "modernbert",
    "xlnet",
    "gpt2",
    "llama",
    "gte",
    "t5 encoder",
)


@functools.cache
def built(case: str) -> Any:
    """A model that tests only look at."""
    family = FAMILIES[case]
    config = AutoConfig.for_model(family.name or case, **family.sizes)
    torch.manual_seed(0)
    auto = getattr(
        transformers, family.kind if family.kind[0] != "F" else f"AutoModel{family.kind}"
    )
    return (auto.from_config(config) if hasattr(auto, "from_config") else auto(config)).eval()


def build(case: str) -> Any:
    return copy.deepcopy(built(case))


def bare(case: str) -> Any:
    if case == "t5 encoder":
        return transformers.T5EncoderModel(AutoConfig.for_model("t5", **T5))
    return AutoModel.from_config(AutoConfig.for_model(case, **FAMILIES[case].sizes))


def inputs_of(case: str) -> dict[str, Tensor]:
    if FAMILIES[case].kind.endswith(IMAGE):
        return {
            "pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        }
    ids = torch.tensor([[5, 9, 7, 11, 13, 2], [6, 8, 10, 12, 14, 2]])
    found = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return {**found, "decoder_input_ids": ids} if FAMILIES[case].kind == SUMMARY else found


def by_hand(model: Any, family: Family) -> dict[str, list[str]]:
    """The groups by the table: else embeddings inside the backbone, and head outside."""
    base = model.base_model
    root = f"{model.base_model_prefix}." if base is not model else ""
    inside = {
        id(p) for n, p in base.named_parameters() if not n.startswith("classifier.")
    }  # CLIP's is its own base
    depth = sum(n for n, _ in family.lists)
    groups: dict[str, list[str]] = {
        g: [] for g in ["embeddings", *(f"layer {i}" for i in range(depth)), "post", "head"]
    }
    owners = {f"{root}{module}.": f"layer {i}" for module, i in family.joins}
    owners |= {f"{root}{module}.": "post" for module in family.after}
    first = 0
    for count, lists in family.lists:
        owners |= {
            f"{root}{name}.{i}.": f"layer {first + i}" for name in lists for i in range(count)
        }
        first += count
    for name, parameter in model.named_parameters():
        found = {group for start, group in owners.items() if name.startswith(start)}
        assert len(found) < 2
        groups[
            found.pop() if found else "embeddings" if id(parameter) in inside else "head"
        ].append(name)
    assert all(any(n.startswith(start) for n, _ in model.named_parameters()) for start in owners)
    return {k: v for k, v in groups.items() if v}


def with_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that hold parameters of their own."""
    return (
        (n, m) for n, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))
    )


# Groups


def test_groups() -> None:
    def check(case: str) -> None:
        model = built(case)
        groups = layer_groups(model)
        assert groups == by_hand(model, FAMILIES[case])
        assert list(groups) == list(
            by_hand(model, FAMILIES[case])
        )  # equal dicts may differ in order

    each(FAMILIES, check)


def test_every_parameter_is_in_one_group_in_order() -> None:
    def check(case: str) -> None:
        model = built(case)
        groups = layer_groups(model)
        names = [n for n, _ in model.named_parameters()]
        assert sorted(n for members in groups.values() for n in members) == sorted(names)
        assert all(
            members == [n for n in names if n in set(members)] for members in groups.values()
        )
        depth = sum(n for n, _ in FAMILIES[case].lists)
        order = ["embeddings", *(f"layer {i}" for i in range(depth)), "post", "head"]
        assert list(groups) == [g for g in order if g in groups]
        assert [g for g in groups if g.startswith("layer ")] == [f"layer {i}" for i in range(depth)]

    each(FAMILIES, check)


def test_tables_of_tokens_are_embeddings_and_the_head_is_outside() -> None:
    def check(case: str) -> None:
        model = built(case)
        groups = layer_groups(model)
        names = {id(p): n for n, p in model.named_parameters()}
        if not FAMILIES[case].kind.endswith(IMAGE):
            assert names[id(model.get_input_embeddings().weight)] in groups["embeddings"]
        tied = case.endswith(", tied")
        assert ("head" in groups) == (not tied)
        if tied:
            assert model.get_output_embeddings().weight is model.get_input_embeddings().weight

    each(FAMILIES, check)


def test_what_is_below_a_cut_does_not_need_what_is_above() -> None:
    def check(case: str) -> None:
        model = built(case)
        found = module_layers(model)
        depth = sum(n for n, _ in FAMILIES[case].lists)
        height = {
            "embeddings": -1,
            **{f"layer {i}": i for i in range(depth)},
            "post": depth,
            "head": depth + 1,
        }
        learns: dict[str, bool] = {}

        def look(name: str) -> Any:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                tensors = (
                    [output]
                    if isinstance(output, Tensor)
                    else [t for t in output if isinstance(t, Tensor)]
                )
                learns[name] = learns.get(name, False) or any(t.requires_grad for t in tensors)

            return hook

        hooks = [m.register_forward_hook(look(name)) for name, m in with_parameters(model)]
        for cut in range(depth + 1):
            learns.clear()
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(height[layer_of(name, found)] >= cut)
            model(**inputs_of(case))
            assert [
                n for n, does in learns.items() if does and height[layer_of(n, found)] < cut
            ] == []
            if cut < depth:
                assert any(does for n, does in learns.items() if height[layer_of(n, found)] == cut)
        model.requires_grad_(True)
        for hook in hooks:
            hook.remove()

    each(FAMILIES, check)


def test_layers_run_in_their_order() -> None:
    def check(case: str) -> None:
        model = built(case)
        found = module_layers(model)
        order: list[str] = []
        hooks = [
            m.register_forward_pre_hook(lambda m, a, name=name: order.append(name))
            for name, m in with_parameters(model)
        ]
        with torch.no_grad():
            model(**inputs_of(case))
        for hook in hooks:
            hook.remove()
        ran = [
            layer_of(n, found) for n in dict.fromkeys(order)
        ]  # by the first time: DeBERTa calls its table's norm in every layer
        layers = [place for place in ran if place.startswith("layer ")]
        assert layers == sorted(layers, key=lambda place: int(place.split()[1]))
        last = max(i for i, place in enumerate(ran) if place.startswith("layer "))
        assert not {"post", "head"} & set(ran[:last])
        assert set(ran[last + 1 :]) <= {"post", "head"}
        started = next(i for i, place in enumerate(ran) if place.startswith("layer "))
        late = [
            n
            for n, place in list(zip(dict.fromkeys(order), ran, strict=True))[started:]
            if place == "embeddings"
        ]
        assert all("decoder." in n for n in late)

    each(FAMILIES, check)


def test_pooled_backbones() -> None:
    def check(family: str) -> None:
        inner = bare(family)
        model = Pooled(inner, "mean", 3)
        groups = layer_groups(model)
        assert groups["head"] == ["head.weight", "head.bias"]
        assert list(groups)[-1] == "head"
        assert not any("pooler" in n.split(".") for members in groups.values() for n in members)
        alone = {k: [f"model.{n}" for n in v] for k, v in layer_groups(inner).items()}
        assert {k: v for k, v in groups.items() if k != "head"} == alone
        if family != "t5 encoder":
            depth = FAMILIES[family].lists[0][0]
            whole = {
                k: [n.split(".", 1)[1] for n in v]
                for k, v in layer_groups(built(family)).items()
                if k.startswith("layer ")
            }
            assert len(whole) == depth
            assert {k: v for k, v in layer_groups(inner).items() if k.startswith("layer ")} == whole

    each(POOLED, check)


def test_bare_backbones_have_no_head() -> None:
    def check(case: str, post: list[str] | None) -> None:
        groups = layer_groups(bare(case))
        assert list(groups) == [
            "embeddings",
            "layer 0",
            "layer 1",
            "layer 2",
            *(["post"] if post else []),
        ]
        assert groups.get("post") == post

    each(
        [
            ("bert", ["pooler.dense.weight", "pooler.dense.bias"]),
            ("llama", ["norm.weight"]),
            ("distilbert", None),
            ("opt", ["decoder.final_layer_norm.weight", "decoder.final_layer_norm.bias"]),
        ],
        check,
    )


def test_what_was_not_pre_trained_is_head() -> None:
    model = build("bert")
    pooler = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    assert layer_groups(model)["post"] == pooler
    model.new_parameters = tuple(pooler)
    groups = layer_groups(model)
    assert "post" not in groups
    assert groups["head"] == [*pooler, "classifier.weight", "classifier.bias"]
    assert layer_of("bert.pooler.dense", module_layers(model)) == "head"
    assert layer_of("bert.pooler.dense", module_layers(built("bert"))) == "post"
    model.new_parameters = ("classifier.weight", "classifier.bias")
    assert layer_groups(model) == layer_groups(built("bert"))


def test_new_parameters_inside_a_layer_are_head() -> None:
    model = build("bert")
    name = "bert.encoder.layer.1.output.dense.bias"
    model.new_parameters = (name,)
    groups = layer_groups(model)
    assert groups["head"] == [name, "classifier.weight", "classifier.bias"]
    assert len(groups["layer 1"]) == len(groups["layer 0"]) - 1
    assert (
        layer_of("bert.encoder.layer.1.output.dense", module_layers(model)) == "layer 1"
    )  # its weight was pre-trained


# Places


def test_every_module_has_a_place_and_its_parameters_the_same() -> None:
    def check(case: str) -> None:
        model = built(case)
        found = module_layers(model)
        groups = layer_groups(model)
        group_of = {n: g for g, members in groups.items() for n in members}
        known = {*groups, "embeddings", "head"}  # a place without parameters is no group
        for name, module in model.named_modules():
            place = layer_of(name, found)
            assert place in known
            for own, _ in module.named_parameters(recurse=False):
                full = f"{name}.{own}" if name else own
                assert (
                    group_of.get(full, place) == place
                )  # tied ones stand where they are registered first
            if place.startswith("layer ") or place == "post":
                assert {layer_of(f"{name}.{n}", found) for n, _ in module.named_modules() if n} <= {
                    place
                }

    each(FAMILIES, check)


def test_what_goes_with_the_embeddings() -> None:
    def check(case: str, names: list[str]) -> None:
        model = built(case)
        modules, found = dict(model.named_modules()), module_layers(model)
        for name in names:
            assert name in modules
            assert layer_of(name, found) == "embeddings"

    each(
        [
            ("t5", ["transformer.encoder.dropout", "transformer.decoder.dropout"]),
            ("xlnet", ["transformer.dropout"]),
            ("gpt2", ["transformer.drop"]),
            ("llama", ["model.rotary_emb"]),
            ("mpnet", ["mpnet.encoder.relative_attention_bias"]),
            ("deberta", ["deberta.encoder.rel_embeddings"]),
            ("deberta-v2", ["deberta.encoder.rel_embeddings", "deberta.encoder.LayerNorm"]),
            ("bloom", ["transformer.word_embeddings_layernorm"]),
            ("xlm", ["transformer.layer_norm_emb"]),
            ("albert", ["albert.encoder.embedding_hidden_mapping_in"]),
            ("electra", ["electra.embeddings_project"]),
            ("bart", ["model.decoder.layernorm_embedding", "model.decoder.embed_positions"]),
            ("swin", ["swin.embeddings.norm"]),
        ],
        check,
    )


def test_place_of_a_part() -> None:
    def check(case: str, name: str, place: str) -> None:
        model = built(case)
        assert name in dict(model.named_modules())
        assert layer_of(name, module_layers(model)) == place

    each(
        [
            ("opt", "model.decoder.final_layer_norm", "post"),
            ("gte", "gte.pooler.dense", "post"),
            ("t5", "transformer.encoder.final_layer_norm", "layer 1"),
            (
                "t5",
                "transformer.decoder.block.0.layer.0.SelfAttention.relative_attention_bias",
                "layer 2",
            ),
            ("mbart", "model.encoder.layer_norm", "layer 1"),
            ("mbart", "model.decoder.layer_norm", "post"),
            ("bert", "bert.encoder.layer.2.output.LayerNorm", "layer 2"),
            ("bert", "dropout", "head"),
            ("distilbert", "pre_classifier", "head"),
            ("xlm", "transformer.ffns.2.lin1", "layer 2"),
            ("clip", "classifier", "head"),
            ("siglip", "vision_model.head.mlp.fc1", "post"),
            ("pvt", "pvt.encoder.patch_embeddings.1.projection", "layer 1"),
        ],
        check,
    )


class Block(GradientCheckpointingLayer):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)


def made_up(**parts: nn.Module) -> nn.Module:
    model = nn.Module()
    for name, part in parts.items():
        setattr(model, name, part)
    return model


def blocks(count: int) -> nn.ModuleList:
    return nn.ModuleList(Block() for _ in range(count))


def test_a_norm_between_two_stacks_is_of_the_layer_below_and_nothing_else_is() -> None:
    norms = {
        name: nn.LayerNorm(4)
        for name in ("norm", "ln", "ln_2", "layer_norm", "LayerNorm_2", "final_layernorm")
    }
    others = {"positions": nn.Embedding(4, 4), "project": nn.Linear(4, 4), "lnx": nn.Linear(4, 4)}
    found = module_layers(
        made_up(
            stem=nn.Linear(4, 4),
            low=blocks(2),
            **norms,
            **others,
            high=blocks(3),
            top=nn.Linear(4, 4),
        )
    )
    assert {found[name] for name in norms} == {"layer 1"}
    assert {found[name] for name in ("stem", *others)} == {"embeddings"}
    assert [found[f"low.{i}"] for i in range(2)] + [found[f"high.{i}"] for i in range(3)] == [
        f"layer {i}" for i in range(5)
    ]
    assert found["top"] == "post"


def test_tables_after_the_layers_are_embeddings_whatever_their_name() -> None:
    found = module_layers(
        made_up(
            layers=blocks(2), table=nn.Embedding(4, 4), drop=nn.Dropout(), dense=nn.Linear(4, 4)
        )
    )
    assert [found[name] for name in ("table", "drop", "dense")] == [
        "embeddings",
        "embeddings",
        "post",
    ]


def test_a_head_inside_is_known_by_its_name_where_there_is_no_backbone() -> None:
    def check(name: str) -> None:
        alone = made_up(layers=blocks(2), norm=nn.LayerNorm(4), **{name: nn.Linear(4, 3)})
        assert list(layer_groups(alone)) == ["layer 0", "layer 1", "post", "head"]
        assert layer_groups(alone)["head"] == [f"{name}.weight", f"{name}.bias"]
        whole = made_up(backbone=alone, output=nn.Linear(3, 2))
        whole.base_model = alone
        groups = layer_groups(whole)
        assert groups["head"] == ["output.weight", "output.bias"]
        assert groups["post"] == [
            f"backbone.{n}" for n in ("norm.weight", "norm.bias", f"{name}.weight", f"{name}.bias")
        ]

    each(["classifier", "score", "head", "fc", "lm_head"], check)


def test_layer_of_takes_the_longest_name() -> None:
    found = {"": "head", "m": "embeddings", "m.layer.1": "layer 1", "m.layer.1.bias": "post"}
    names = ("m.layer.1.bias", "m.layer.1.weight", "m.layer.10.weight", "m.layer", "mm.x", "x", "")
    assert [layer_of(n, found) for n in names] == [
        "post",
        "layer 1",
        "embeddings",
        "embeddings",
        "head",
        "head",
        "head",
    ]


def test_register_order_of_the_early_ones() -> None:
    """The cases above are about what they say only while these are registered before the layers."""
    decoder = [n for n, _ in built("opt").base_model.decoder.named_children()]
    assert decoder.index("final_layer_norm") < decoder.index("layers")
    gte = [n for n, _ in built("gte").base_model.named_children()]
    assert gte.index("pooler") < gte.index("layers")


# Norms


def test_norms() -> None:
    def check(case: str) -> None:
        model = built(case)
        # The weight of a norm is a vector, unlike that of a linear or convolutional module.
        vectors = [
            (n, m)
            for n, m in with_parameters(model)
            if isinstance(getattr(m, "weight", None), Tensor) and m.weight.ndim == 1
        ]
        expected = {f"{n}.{p}" for n, m in vectors for p, _ in m.named_parameters(recurse=False)}
        assert expected
        assert norm_parameters(model) == expected
        plain = (nn.LayerNorm, nn.RMSNorm, nn.BatchNorm2d, nn.GroupNorm)
        assert {
            f"{n}.weight"
            for n, m in model.named_modules()
            if isinstance(m, plain) and m.weight is not None
        } <= expected
        assert not expected & {
            f"{n}.weight"
            for n, m in model.named_modules()
            if isinstance(m, (nn.Linear, nn.Conv2d, nn.Embedding))
        }

    each(FAMILIES, check)


def test_norms_of_torch() -> None:
    def check(norm: nn.Module) -> None:
        own = {n for n, _ in norm.named_parameters()}
        assert norm_parameters(norm) == own
        assert norm_parameters(nn.Sequential(nn.Linear(4, 4), norm)) == {f"1.{n}" for n in own}

    each(
        [
            nn.LayerNorm(4),
            nn.RMSNorm(4),
            nn.BatchNorm1d(4),
            nn.GroupNorm(2, 4),
            nn.InstanceNorm1d(4, affine=True),
        ],
        check,
    )


def test_a_norm_holds_only_its_own_parameters() -> None:
    class PreNormBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.dense = nn.LayerNorm(4), nn.Linear(4, 4)

    assert norm_parameters(PreNormBlock()) == {"norm.weight", "norm.bias"}


# Stacks


def test_stacks() -> None:
    def check(case: str) -> None:
        expected = [
            Stack(lists[0], [[f"{n}.{i}" for n in lists] for i in range(count)])
            for count, lists in FAMILIES[case].lists
        ]
        found = stacks(built(case).base_model)
        assert [s.layers for s in found] == [s.layers for s in expected]
        assert [
            s.name in lists for s, (_, lists) in zip(found, FAMILIES[case].lists, strict=True)
        ] == [True] * len(expected)

    each(FAMILIES, check)


def test_a_model_without_layers() -> None:
    model = nn.Linear(2, 3)
    assert stacks(model) == []
    assert layer_groups(model) == {"embeddings": ["weight", "bias"]}


def test_an_empty_list_is_no_stack() -> None:
    model = made_up(layers=nn.ModuleList(), dense=nn.Linear(2, 2))
    assert stacks(model) == []
    assert layer_groups(model) == {"embeddings": ["dense.weight", "dense.bias"]}


def test_tied_weights_stand_once() -> None:
    model = nn.Module()
    model.embed = nn.Embedding(5, 4)
    model.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    model.out = nn.Linear(4, 5, bias=False)
    model.out.weight = model.embed.weight
    assert layer_groups(model) == {
        "embeddings": ["embed.weight"],
        "layer 0": ["blocks.0.weight", "blocks.0.bias"],
        "layer 1": ["blocks.1.weight", "blocks.1.bias"],
    }


def test_a_larger_list_of_something_else_is_no_stack() -> None:
    model = bare("bert")
    model.experts = nn.ModuleList(nn.Linear(100, 100) for _ in range(5))
    assert [s.name for s in stacks(model)] == ["encoder.layer"]


def test_where_nothing_is_marked_the_largest_list_and_those_beside_it() -> None:
    model = nn.Module()
    model.small = nn.ModuleList(nn.Linear(2, 2) for _ in range(9))
    model.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
    model.blocks = nn.ModuleList(
        nn.Sequential(nn.Linear(8, 8), nn.ModuleList([nn.Linear(8, 8)] * 4)) for _ in range(3)
    )
    model.other = nn.Module()
    model.other.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
    assert stacks(model) == [Stack("blocks", [[f"norms.{i}", f"blocks.{i}"] for i in range(3)])]
    groups = layer_groups(model)
    assert {n.split(".")[0] for n in groups["layer 1"]} == {"norms", "blocks"}
    assert all(n.split(".")[1] == "1" for n in groups["layer 1"])
