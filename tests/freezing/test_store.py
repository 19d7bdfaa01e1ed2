from __future__ import annotations

import itertools
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import each
from torch import Tensor

from ftlight.freezing import room
from ftlight.freezing import store as pc

# Checksums


def padded(rows: list[list[int]], width: int, side: str, fill: int = 0) -> tuple[Tensor, Tensor]:
    """Tokens and their mask."""
    ids, mask = (
        torch.full((len(rows), width), fill),
        torch.zeros(len(rows), width, dtype=torch.long),
    )
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, place], mask[i, place] = torch.tensor(row), 1
    return ids, mask


def tokens(
    rows: list[list[int]],
    width: int = 12,
    side: str = "right",
    fill: int = 0,
    **more: list[list[int]],
) -> dict[str, Tensor]:
    ids, mask = padded(rows, width, side, fill)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        **{k: padded(v, width, side, fill)[0] for k, v in more.items()},
    }


ROWS = [
    [7, 8, 9],
    [9, 8, 7],
    [7, 8],
    [5],
    [7, 8, 9, 10, 11, 12, 13],
    [0, 0, 0],
    [0, 0],
    [7, 8, 9, 0],
    [0, 7, 8, 9],
]


def test_padding_does_not_change_checksums() -> None:
    plain = pc.checksums(tokens(ROWS))
    assert plain.dtype == torch.int64
    assert len(plain.unique()) == len(ROWS)
    for width, side, fill in itertools.product((7, 8, 50), ("left", "right"), (0, 99)):
        assert torch.equal(pc.checksums(tokens(ROWS, width, side, fill)), plain)
    for dtype in (torch.bool, torch.int32, torch.uint8, torch.float32):
        inputs = tokens(ROWS)
        assert torch.equal(
            pc.checksums({**inputs, "attention_mask": inputs["attention_mask"].to(dtype)}), plain
        )


def test_a_row_has_the_same_checksum_in_any_batch_and_order_of_names() -> None:
    types = [[i % 2 for i in range(len(row))] for row in ROWS]
    inputs = tokens(ROWS, token_type_ids=types)
    plain = pc.checksums(inputs)
    assert torch.equal(pc.checksums(dict(reversed(inputs.items()))), plain)
    assert torch.equal(pc.checksums({k: v.flip(0) for k, v in inputs.items()}), plain.flip(0))
    assert torch.equal(
        torch.cat(
            [pc.checksums({k: v[i : i + 1] for k, v in inputs.items()}) for i in range(len(ROWS))]
        ),
        plain,
    )
    wide = {k: torch.cat([v, v], 1)[:, ::2] for k, v in inputs.items()}
    assert torch.equal(
        pc.checksums({k: v.contiguous() for k, v in wide.items()}), pc.checksums(wide)
    )  # strides do not matter


def test_any_token_or_place_changes_checksums() -> None:
    def check(side: str) -> None:
        row = [101, 7, 8, 8, 2000, 9, 102]
        types = [0, 0, 0, 0, 1, 1, 1]
        others: list[tuple[list[int], list[int]]] = []
        for i in range(len(row)):
            others += [
                ([*row[:i], token, *row[i + 1 :]], types)
                for token in (0, 1, 103, 30521, row[i] + 1, row[i] - 1)
                if token != row[i]
            ]
            others += [(row, [*types[:i], 1 - types[i], *types[i + 1 :]])]
            others += [(row[:i] + row[i + 1 :], types[:i] + types[i + 1 :])]
            others += [
                ([*row[:i], token, *row[i:]], [*types[:i], 0, *types[i:]]) for token in (0, 55)
            ]
        others += [(row[:i] + row[i + 1 :] + [0], types) for i in range(len(row))]
        for i, j in itertools.combinations(range(len(row)), 2):
            swapped = list(row)
            swapped[i], swapped[j] = row[j], row[i]
            others.append((swapped, types))
        others = [o for o in others if o != (row, types)]
        distinct = {(tuple(a), tuple(b)) for a, b in others} | {(tuple(row), tuple(types))}
        rows, kinds = [list(a) for a, _ in sorted(distinct)], [list(b) for _, b in sorted(distinct)]
        sums = pc.checksums(tokens(rows, 9, side, token_type_ids=kinds))
        assert len(sums.unique()) == len(distinct) > 70

    each(["left", "right"], check)


def test_any_pixel_changes_checksums() -> None:
    def check(dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        image = (torch.rand(1, 3, 4, 6) * 200).to(dtype)
        one = torch.ones((), dtype=dtype)
        others = [image]
        for at in itertools.product(*map(range, image.shape)):
            other = image.clone()
            other[at] = ~other[at] if dtype == torch.bool else other[at] + one
            others.append(other)
        if dtype != torch.bool:
            others += [
                image.flip(-1),
                image.flip(-2),
                image.roll(1, -1),
                image.roll(1, -2),
                image.flip(1),
                image + one,
            ]
        stacked = torch.cat(others)
        assert len(torch.unique(stacked, dim=0)) == len(others)
        assert len(pc.checksums({"pixel_values": stacked}).unique()) == len(others)
        assert torch.equal(
            pc.checksums({"pixel_values": stacked[:1].clone()}),
            pc.checksums({"pixel_values": stacked})[:1],
        )

    each(
        [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.bool],
        check,
    )


def test_the_smallest_change_of_a_float_changes_checksums() -> None:
    image = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    near = torch.nextafter(image, torch.tensor(torch.inf))
    ways = [torch.where(torch.arange(48).view(1, 3, 4, 4) == i, near, image) for i in range(48)]
    assert len(pc.checksums({"pixel_values": torch.cat([image, *ways])}).unique()) == 49
    zeros = torch.zeros(1, 3, 2, 2)
    assert pc.checksums({"pixel_values": zeros}) != pc.checksums({"pixel_values": -zeros})
    assert torch.equal(
        pc.checksums({"pixel_values": image * torch.nan}),
        pc.checksums({"pixel_values": image * torch.nan}),
    )


def test_sound_is_padded_too() -> None:
    wave, mask = (
        torch.randn(2, 20, generator=torch.Generator().manual_seed(0)),
        torch.ones(2, 20, dtype=torch.long),
    )
    mask[1, 12:] = 0
    plain = pc.checksums({"input_values": wave, "attention_mask": mask})
    other = wave.clone()
    other[1, 12:] = 3
    assert torch.equal(pc.checksums({"input_values": other, "attention_mask": mask}), plain)
    assert torch.equal(
        pc.checksums({"input_values": other[1:, :12], "attention_mask": mask[1:, :12]}), plain[1:]
    )
    other[1, 11] += 1e-6
    assert (pc.checksums({"input_values": other, "attention_mask": mask}) == plain).tolist() == [
        True,
        False,
    ]


def test_each_of_several_tensors_counts() -> None:
    torch.manual_seed(0)
    inputs = {
        **tokens(ROWS),
        "bbox": torch.randint(0, 9, (len(ROWS), 12, 4)),
        "pixel_values": torch.rand(len(ROWS), 3, 2, 2),
    }
    plain = pc.checksums(inputs)
    for name in ("input_ids", "bbox", "pixel_values"):
        other = inputs[name].clone()
        other[2].view(-1)[1] += 1
        changed = pc.checksums({**inputs, name: other}) != plain
        assert changed.tolist() == [i == 2 for i in range(len(ROWS))]
        assert not torch.equal(pc.checksums({k: v for k, v in inputs.items() if k != name}), plain)


def test_no_inputs_no_checksums() -> None:
    assert len(pc.checksums({})) == 0
    assert len(pc.checksums({"attention_mask": torch.ones(2, 3)})) == 0


COLLIDE = "elements are summed without being mixed: many rows have the checksum of another"


def test_rows_of_few_values_have_checksums_of_their_own() -> None:
    def check(kind: str) -> None:
        bits = torch.tensor(list(itertools.product((0, 1), repeat=14)))
        made = {
            "black and white": {"pixel_values": bits.float()},
            "zeros and ones": {"token_type_ids": bits, "attention_mask": torch.ones_like(bits)},
            "sixteen tokens": {"input_ids": torch.cartesian_prod(*[torch.arange(16)] * 4)},
        }[kind]
        assert len(pc.checksums(made).unique()) == len(next(iter(made.values())))

    each(["black and white", "zeros and ones", "sixteen tokens"], check)


def test_values_that_change_their_tensor_change_checksums() -> None:
    a, b = torch.cartesian_prod(torch.arange(1, 20), torch.arange(1, 20)).unbind(1)
    inputs = {"input_ids": a[:, None], "token_type_ids": b[:, None]}
    for mask in ({}, {"attention_mask": torch.ones(len(a), 1)}):
        assert len(pc.checksums({**inputs, **mask}).unique()) == len(a)


def test_the_number_of_tokens_counts_where_no_input_is_of_tokens() -> None:
    states, mask = torch.zeros(3, 4, 2), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]])
    assert len(pc.checksums({"inputs_embeds": states, "attention_mask": mask}).unique()) == 3


def test_pixels_are_not_masked_where_there_are_as_many_as_tokens() -> None:
    ids, mask = padded([[7, 8], [7, 8]], 12, "right")
    pixels = torch.zeros(2, 3, 2, 2)
    pixels[1, 2, 1, 1] = 1
    assert (
        len(
            pc.checksums(
                {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}
            ).unique()
        )
        == 2
    )


def test_half_precision_of_odd_width() -> None:
    images = torch.rand(2, 3, 5, 5).bfloat16()
    assert len(pc.checksums({"pixel_values": images}).unique()) == 2


# Digests


def test_any_change_changes_a_digest() -> None:
    torch.manual_seed(0)
    value = torch.randn(2, 3)
    plain = [("a", value), ("b", torch.arange(4))]
    flipped = []
    for at, bit in itertools.product(range(6), range(32)):
        other = value.clone()
        other.view(torch.int32).view(-1)[at] ^= torch.tensor(
            1 << bit if bit < 31 else -(1 << 31), dtype=torch.int64
        ).to(torch.int32)
        flipped.append([("a", other), plain[1]])
    others = [
        *flipped,
        [("a", value.view(3, 2)), plain[1]],
        [("a", value.view(6)), plain[1]],
        [("a", value.view(1, 2, 3)), plain[1]],
        [("a", value.view(torch.int32)), plain[1]],
        [("a", value.double()), plain[1]],
        [("a", value.T), plain[1]],
        [("c", value), plain[1]],
        plain[:1],
        plain[1:],
        plain[::-1],
        [("b", value), ("a", torch.arange(4))],
        [*plain, ("c", torch.zeros(0))],
        [*plain, ("c", torch.zeros(0, 2))],
        [*plain, ("c", torch.zeros(()))],
        [*plain, ("c", torch.tensor(-0.0))],
        [("a", value), ("b", torch.arange(4, dtype=torch.int32))],
        [],
    ]
    found = [pc.digest(o) for o in [plain, *others]]
    assert len(set(found)) == len(found) == 192 + 18
    assert all(len(f) == 64 for f in found)


def test_a_digest_is_of_what_a_tensor_holds() -> None:
    def check(dtype: torch.dtype) -> None:
        value = (torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
        wide = torch.stack([value, value], 2)
        assert not wide[..., 0].is_contiguous()
        parameter = value.clone().requires_grad_(dtype.is_floating_point)
        same = [value, value.clone(), wide[..., 0], value.T.contiguous().T, parameter]
        assert len({pc.digest([("a", v)]) for v in same}) == 1
        assert pc.digest(iter([("a", value)])) == pc.digest([("a", value)])

    each(
        [
            torch.float32,
            torch.float64,
            torch.bfloat16,
            torch.float16,
            torch.bool,
            torch.int64,
            torch.uint8,
        ],
        check,
    )


# The file


class Kept(NamedTuple):
    """A filled store and what was put into it."""

    store: pc.ActivationStore
    states: dict[str, list[Tensor]]
    rows: dict[str, list[list[int]]]


def fill(
    path: Path, seed: int, dtype: torch.dtype, whole: bool, side: str, shape: tuple[int, ...] = (5,)
) -> Kept:
    """Fills a store with random rows of two splits, in random batches."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    counts = {
        "train": rng.randint(3, 12),
        "validation": rng.randint(1, 6),
        "more": rng.randint(1, 4),
    }
    rows = {
        s: [[rng.randint(1, 99) for _ in range(rng.randint(1, 9))] for _ in range(n)]
        for s, n in counts.items()
    }
    states = {
        s: [torch.randn(*shape if whole else (len(r), *shape)).to(dtype) for r in rs]
        for s, rs in rows.items()
    }
    layout = pc.Layout(
        {s: np.array([len(r) for r in rs]) for s, rs in rows.items()}, shape, dtype, whole
    )
    with path.open("wb") as file:
        file.truncate(layout.bytes)
    store = pc.ActivationStore(path, layout, write=True)
    for split, kept in states.items():
        order = list(range(len(kept)))
        rng.shuffle(order)
        while order:
            batch = [order.pop() for _ in range(min(len(order), rng.randint(1, 4)))]
            inputs = tokens([rows[split][i] for i in batch], rng.randint(9, 14), side)
            store.put(split, batch, dense([kept[i] for i in batch], inputs, whole, shape), inputs)
    store.flush()
    return Kept(pc.ActivationStore(path, layout), states, rows)


def dense(
    kept: list[Tensor],
    inputs: dict[str, Tensor],
    whole: bool,
    shape: tuple[int, ...],
    fill: float = torch.nan,
) -> Tensor:
    """The states of a batch as a model gives them, with something where there are no tokens."""
    if whole:
        return torch.stack(kept)
    mask = inputs["attention_mask"].bool()
    found = torch.full((*mask.shape, *shape), fill, dtype=kept[0].dtype)
    for i, states in enumerate(kept):
        found[i, mask[i]] = states
    return found


WAYS = [
    *(
        (dtype, whole, side)
        for dtype in (torch.float32, torch.bfloat16, torch.float16)
        for whole in (False, True)
        for side in ("right", "left")
    ),
]


def test_what_is_put_is_got(tmp_path: Path) -> None:
    def check(seed: int, dtype: torch.dtype, whole: bool, side: str) -> None:
        shape = [(5,), (3,), (2, 3), (1,)][seed]
        kept = fill(
            tmp_path / f"{seed} {dtype} {whole} {side}.bin", seed, dtype, whole, side, shape
        )
        rng = random.Random(seed)
        for split, states in kept.states.items():
            for _ in range(4):
                batch = [
                    rng.randrange(len(states)) for _ in range(rng.randint(1, 5))
                ]  # any order, any padding, rows twice
                inputs = tokens(
                    [kept.rows[split][i] for i in batch],
                    rng.randint(9, 20),
                    rng.choice(["left", "right"]),
                )
                found = kept.store.get(split, batch, inputs)
                assert found is not None
                assert found.dtype == dtype
                assert torch.equal(
                    found, dense([states[i] for i in batch], inputs, whole, shape, fill=0.0)
                )

    each([(v0, *v1) for v0 in range(4) for v1 in WAYS], check)


def test_another_input_gives_nothing(tmp_path: Path) -> None:
    def check(whole: bool) -> None:
        kept = fill(tmp_path / f"{whole}.bin", 0, torch.float32, whole, "right")
        rows = kept.rows["train"]
        good = tokens(rows[:3])
        assert kept.store.get("train", [0, 1, 2], good) is not None
        longer = [[*rows[0], 5], *rows[1:3]]
        other = [[rows[0][0] + 1, *rows[0][1:]], *rows[1:3]]
        for inputs in (
            tokens(longer),
            tokens(other),
            tokens(rows[:3][::-1]),
            {**good, "token_type_ids": good["attention_mask"]},
        ):
            assert kept.store.get("train", [0, 1, 2], inputs) is None
        assert kept.store.get("train", [0, 2, 1], good) is None
        assert kept.store.get("validation", [0], tokens(rows[:1])) is None
        assert kept.store.get("train", [0, 1], good) is None
        assert kept.store.get("train", [0, 1, 2], {}) is None
        last = len(rows) - 1
        assert kept.store.get("train", [last], tokens(rows[last:])) is not None

    each([False, True], check)


def test_rows_that_were_never_put_give_nothing(tmp_path: Path) -> None:
    def check(whole: bool) -> None:
        layout = pc.Layout({"train": np.array([2, 3])}, (4,), torch.float32, whole)
        (tmp_path / "a.bin").write_bytes(bytes(layout.bytes))
        store = pc.ActivationStore(tmp_path / "a.bin", layout)
        assert store.get("train", [0], tokens([[7, 8]])) is None
        assert store.get("train", [0, 1], tokens([[7, 8], [7, 8, 9]])) is None

    each([False, True], check)


def test_reading_does_not_write(tmp_path: Path) -> None:
    kept = fill(tmp_path / "a.bin", 1, torch.float32, False, "right")
    before = (tmp_path / "a.bin").read_bytes()
    inputs = tokens(kept.rows["train"][:1])
    found = kept.store.get("train", [0], inputs)
    assert found is not None
    found += 1
    kept.store.values += 1
    kept.store.flush()
    assert (tmp_path / "a.bin").read_bytes() == before


def test_states_are_kept_in_the_type_of_the_layout(tmp_path: Path) -> None:
    layout = pc.Layout({"train": np.array([2])}, (3,), torch.bfloat16, False)
    (tmp_path / "a.bin").write_bytes(bytes(layout.bytes))
    store, inputs, states = (
        pc.ActivationStore(tmp_path / "a.bin", layout, write=True),
        tokens([[7, 8]], 2),
        torch.randn(1, 2, 3),
    )
    store.put("train", [0], states, inputs)
    assert torch.equal(store.get("train", [0], inputs), states.bfloat16())


def test_images_are_kept_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, states = torch.rand(4, 3, 8, 8), torch.randn(4, 6, 2, 2)
    layout = pc.Layout(
        {"train": np.array([1, 1, 1]), "validation": np.array([1])}, (6, 2, 2), torch.float32, True
    )
    (tmp_path / "a.bin").write_bytes(bytes(layout.bytes))
    store = pc.ActivationStore(tmp_path / "a.bin", layout, write=True)
    store.put("train", [2, 0, 1], states[:3], {"pixel_values": images[:3]})
    store.put("validation", [0], states[3:], {"pixel_values": images[3:]})
    assert torch.equal(store.get("train", [0, 2], {"pixel_values": images[[1, 0]]}), states[[1, 0]])
    assert torch.equal(store.get("validation", [0], {"pixel_values": images[3:]}), states[3:])
    assert store.get("train", [0], {"pixel_values": images[1:2].flip(-1)}) is None


def test_layout() -> None:
    def check(whole: bool, dtype: torch.dtype) -> None:
        lengths = {"train": np.array([3, 1, 5]), "validation": np.array([2, 2])}
        layout = pc.Layout(lengths, (4, 3), dtype, whole)
        units = 5 if whole else 13
        size = 12 * (4 if dtype == torch.float32 else 2)
        assert (layout.units, layout.rows) == (units, 5)
        assert layout.values_bytes % pc.ALIGN == 0
        assert 0 <= layout.values_bytes - units * size < pc.ALIGN
        assert layout.bytes == layout.values_bytes + 5 * 8
        seen: list[int] = []
        for split, counts in lengths.items():
            for row, count in enumerate(counts):
                numbers, at = layout.at(split, [row])
                assert numbers.tolist() == [row + (3 if split == "validation" else 0)]
                assert len(at) == (1 if whole else count)
                seen += at.tolist()
        assert seen == list(range(units))  # rows lie one after the other, none over another
        numbers, at = layout.at("train", [2, 0, 2])
        assert numbers.tolist() == [2, 0, 2]
        assert at.tolist() == ([2, 0, 2] if whole else [4, 5, 6, 7, 8, 0, 1, 2, 4, 5, 6, 7, 8])
        assert {s: n.tolist() for s, n in lengths.items()} == {
            "train": [3, 1, 5],
            "validation": [2, 2],
        }

    each(itertools.product([False, True], [torch.float32, torch.float16]), check)


def test_the_last_numbers_of_a_file_are_checksums(tmp_path: Path) -> None:
    kept = fill(tmp_path / "a.bin", 2, torch.float16, False, "right", (3,))
    sums = [pc.checksums(tokens([r])) for rows in kept.rows.values() for r in rows]
    raw = np.frombuffer((tmp_path / "a.bin").read_bytes()[-8 * len(sums) :], np.int64)
    assert raw.tolist() == torch.cat(sums).tolist()


# Room


def put(folder: Path, sizes: dict[str, int], hours: float = 0) -> None:
    """Writes files, the oldest first; the last ``hours`` ago, a minute between them."""
    folder.mkdir(exist_ok=True)
    for age, (name, size) in enumerate(reversed(sizes.items())):
        (folder / name).write_bytes(bytes(size))
        then = time.time() - 3600 * hours - 60 * age
        os.utime(folder / name, (then, then))


def left(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def test_the_oldest_go_first_and_no_more_than_needed(tmp_path: Path) -> None:
    def check(needed: int, limit: int, names: list[str]) -> None:
        folder = tmp_path / f"{needed} of {limit}"
        put(folder, {"a.bin": 20, "b.bin": 30, "c.bin": 10})
        assert bool(room.evict(folder, needed, limit)) == (needed > limit)
        assert left(folder) == names

    each(
        [
            (10, 100, ["a.bin", "b.bin", "c.bin"]),
            (40, 100, ["a.bin", "b.bin", "c.bin"]),
            (41, 100, ["b.bin", "c.bin"]),
            (60, 100, ["b.bin", "c.bin"]),
            (61, 100, ["c.bin"]),
            (90, 100, ["c.bin"]),
            (91, 100, []),
            (100, 100, []),
            (0, 60, ["a.bin", "b.bin", "c.bin"]),
            (0, 59, ["b.bin", "c.bin"]),
            (101, 100, ["a.bin", "b.bin", "c.bin"]),
        ],
        check,
    )


def test_age_is_by_time_not_by_name(tmp_path: Path) -> None:
    put(tmp_path, {"c.bin": 40, "a.bin": 40})
    assert room.evict(tmp_path, 50, 100) == ""
    assert left(tmp_path) == ["a.bin"]
    put(tmp_path, {"a.bin": 40, "z.bin": 40})
    (tmp_path / "a.bin").touch()  # used now
    assert room.evict(tmp_path, 50, 100) == ""
    assert left(tmp_path) == ["a.bin"]


def test_what_another_run_writes_stays(tmp_path: Path) -> None:
    put(tmp_path, {"a.bin.elsewhere.123.part": 60, "b.bin": 30})
    assert room.evict(tmp_path, 40, 100) == ""
    assert left(tmp_path) == ["a.bin.elsewhere.123.part"]


def test_what_this_run_reads_stays(tmp_path: Path) -> None:
    put(tmp_path, {"a.bin": 30, "b.bin": 30, "c.bin": 30})
    mine = {tmp_path / "a.bin": 30, tmp_path / "gone.bin": 20}
    assert room.evict(tmp_path, 50, 100, mine) == ""
    assert left(tmp_path) == ["a.bin"]
    assert "it would take 5.1e-08 GB beside 5e-08; model.cache_gb" in room.evict(
        tmp_path, 51, 100, mine
    )


def test_what_a_kill_left_goes(tmp_path: Path) -> None:
    put(tmp_path, {"a.bin.elsewhere.123.part": 60}, hours=2)
    put(tmp_path, {"b.bin": 30})
    assert room.evict(tmp_path, 40, 100) == ""
    assert left(tmp_path) == ["b.bin"]


def test_other_files_are_let_alone(tmp_path: Path) -> None:
    put(tmp_path, {"notes.txt": 500, "data.binary": 0, "model.safetensors": 500}, hours=5)
    (tmp_path / "folder.bin").mkdir()
    before = left(tmp_path)
    assert room.evict(tmp_path, 90, 100) == ""
    assert left(tmp_path) == before


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert room.evict(tmp_path / "a" / "b", 10, 100) == ""
    assert (tmp_path / "a" / "b").is_dir()


def test_more_than_the_limit_says_so(tmp_path: Path) -> None:
    assert (
        room.evict(tmp_path, 2_500_000_000, 1e9) == "it would take 2.5 GB; model.cache_gb allows 1"
    )


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(free: int, enough: bool) -> None:
        usage: Any = shutil._ntuple_diskusage  # type: ignore[attr-defined]
        monkeypatch.setattr(
            room.shutil, "disk_usage", lambda folder: usage(10**12, 0, free * 10**6)
        )
        reason = room.evict(tmp_path, 100 * 10**6, 1e9)
        assert reason == (
            "" if enough else f"it would take 0.1 GB; {tmp_path} has {free / 1e3:.2g} GB free"
        )

    each([(100, False), (105, False), (106, True)], check)


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "x"))
    assert room.cache_dir() == tmp_path / "x"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FTLIGHT_CACHE", "~/y")
    assert room.cache_dir() == tmp_path / "y"
    for nothing in ("", None):
        monkeypatch.delenv("FTLIGHT_CACHE") if nothing is None else monkeypatch.setenv(
            "FTLIGHT_CACHE", nothing
        )
        assert room.cache_dir() == tmp_path / ".cache" / "ftlight"


def test_quick_tells_what_training_changes() -> None:
    weights = torch.randn(8, 8)
    made = [
        torch.ones(768),
        2 * torch.ones(768),
        torch.zeros(768),
        weights,
        -weights,
        weights + 1e-7,
        weights.bfloat16(),
        torch.arange(9),
    ]
    assert len({tuple(pc.fingerprint([("t", t)])) for t in made}) == len(made)
    assert pc.fingerprint([("t", weights), ("none", torch.zeros(0))]) == pc.fingerprint(
        [("t", weights.clone())]
    )
