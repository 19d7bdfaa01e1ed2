"""What a frozen pass tells of rows: wrong labels, strangers, drift, twins."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch
from cleanlab.rank import get_label_quality_scores
from conftest import WORDS, each
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn.functional import normalize

from ftlight.evidence import labels, neighbours, pictures, twins
from ftlight.evidence.drift import drift
from ftlight.freezing.linear import Head, Vectors
from ftlight.freezing.solve import out_of_fold
from ftlight.models.losses import Loss


def clouds(rows: int, classes: int, seed: int = 0, width: int = 16) -> tuple[Tensor, Tensor]:
    """Points around the corners of a simplex, and their class."""
    random_ = torch.Generator().manual_seed(seed)
    targets = torch.arange(rows) % classes
    return 7 * torch.eye(width)[targets] + torch.randn(rows, width, generator=random_), targets


# Labels


def test_flipped_labels_are_ranked_first_as_cleanlab_ranks_them() -> None:
    states, true = clouds(400, 4)
    flipped = torch.arange(0, 400, 20)
    given = true.clone()
    given[flipped] = (given[flipped] + 1) % 4
    found = labels.doubt(states, given, "single", 4)
    assert len(set(found.doubted[:20].tolist()) & set(flipped.tolist())) >= 17
    assert 8 <= found.sure <= 25
    assert found.can_judge
    assert found.chance == pytest.approx(0.3)
    assert found.likely[flipped].eq(true[flipped]).float().mean() > 0.9
    start = Head(torch.zeros(4, 16), torch.zeros(4))
    outputs = out_of_fold(Vectors(torch.arange(400), states, given), Loss("single"), start)
    theirs = get_label_quality_scores(
        given.numpy(), outputs.double().softmax(1).numpy(), method="self_confidence"
    )
    assert found.trust.numpy() == pytest.approx(theirs)
    order = np.argsort(theirs, kind="stable")
    doubted = [row for row in order if outputs[row].argmax() != given[row]]
    assert found.doubted.tolist() == doubted


def test_no_row_has_seen_itself() -> None:
    """Random labels of many dimensions: a head that had seen the row would know them."""
    random_ = torch.Generator().manual_seed(0)
    states, targets = torch.randn(200, 150, generator=random_), torch.arange(200) % 2
    start = Head(torch.zeros(2, 150), torch.zeros(2))
    outputs = out_of_fold(Vectors(torch.arange(200), states, targets), Loss("single"), start)
    assert 0.35 < outputs.argmax(1).eq(targets).float().mean() < 0.65
    # of eight classes one that began at the head of another part was right in twice what it guesses
    states, targets = torch.randn(400, 384, generator=random_), torch.arange(400) % 8
    start = Head(torch.zeros(8, 384), torch.zeros(8))
    outputs = out_of_fold(Vectors(torch.arange(400), states, targets), Loss("single"), start)
    assert outputs.argmax(1).eq(targets).float().mean() < 0.18


def test_heads_that_know_little_are_sure_of_little() -> None:
    """Of 184 rows in three classes they called 83 wrong."""
    random_ = torch.Generator().manual_seed(0)
    noise, targets = torch.randn(184, 64, generator=random_), torch.arange(184) % 3
    for kind, given in (
        ("single", targets),
        ("multi", torch.nn.functional.one_hot(targets, 3).float()),
    ):
        assert not labels.doubt(noise, given, kind, 3).can_judge  # type: ignore[arg-type]
    weak = noise + 0.8 * torch.eye(64)[targets]
    found = labels.doubt(weak, targets, "single", 3)
    assert found.can_judge
    assert found.agreed < 0.7
    assert len(found.doubted) > 50
    assert found.sure <= 15


def test_several_labels_and_numbers() -> None:
    states, classes = clouds(300, 3)
    several = torch.nn.functional.one_hot(classes, 3).float()
    several[7] = torch.tensor([1.0, 1.0, 1.0])
    found = labels.doubt(states, several, "multi", 3)
    assert found.doubted[0] == 7
    assert several[7, int(found.likely[7])] == 1
    numbers = states[:, 0] * 100 + 5
    numbers[9] += 5000
    found = labels.doubt(states, numbers, "regression", 0)
    assert found.doubted.tolist() == [9]
    assert found.sure == 1
    assert found.can_judge


def test_too_few_rows_to_hold_any_out() -> None:
    with pytest.raises(ValueError, match="a single row"):
        labels.doubt(torch.ones(1, 4), torch.zeros(1, dtype=torch.long), "single", 2)


# Neighbours


def test_neighbours_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    one, other = (normalize(clouds(40, 5, seed)[0]) for seed in (0, 1))
    theirs = NearestNeighbors(n_neighbors=4, metric="cosine").fit(other.numpy())
    distances, rows = theirs.kneighbors(one.numpy())
    found = neighbours.nearest(one, other, 4)
    assert found.rows.tolist() == rows.tolist()
    assert found.cosines.numpy() == pytest.approx(1 - distances, abs=1e-6)
    own = neighbours.nearest(one, None, 3)
    assert not (own.rows == torch.arange(40)[:, None]).any()
    assert neighbours.nearest(one[:3], None, 10).rows.shape == (3, 2)
    monkeypatch.setattr(neighbours, "MOST", 10)
    few = neighbours.nearest(one, None, 3)
    assert len(set(few.rows.flatten().tolist())) <= 10
    assert not (few.rows == torch.arange(40)[:, None]).any()
    picked = one[few.rows]
    assert few.cosines.numpy() == pytest.approx(
        (picked @ one[:, :, None])[..., 0].numpy(), abs=1e-6
    )


def test_strangers_are_far_from_all_others() -> None:
    states, _ = clouds(300, 4)
    random_ = torch.Generator().manual_seed(5)
    strange = -14 * torch.eye(16)[torch.arange(6) + 8] + torch.randn(6, 16, generator=random_)
    familiar = neighbours.familiarity(normalize(torch.cat([states, strange])))
    found = neighbours.strangers(familiar).tolist()
    assert set(found[:6]) == set(range(300, 306))
    assert len(neighbours.strangers(neighbours.familiarity(normalize(states)))) <= 3


# Drift


def test_drift_is_told_from_chance() -> None:
    states, classes = clouds(1200, 6)
    alarms = 0
    for seed in range(20):
        order = torch.randperm(1200, generator=torch.Generator().manual_seed(seed))
        alarms += drift(states[order[:700]], states[order[700:]], seed).alarms
    assert alarms <= 2
    fewer = states[700:][classes[700:] > 1]
    found = drift(states[:700], fewer)
    assert found.alarms
    assert found.area > 0.55
    assert found.rows == len(fewer)
    with pytest.raises(ValueError, match="too few"):
        drift(states[:3], states)


def test_its_error_is_that_of_scores_that_know_nothing() -> None:
    random_ = np.random.default_rng(0)
    areas = []
    for _ in range(400):
        ranks = random_.permutation(200)
        areas.append((ranks[:100].sum() - 100 * 99 / 2) / 100**2)
    found = drift(torch.zeros(100, 3) + torch.randn(100, 3), torch.randn(100, 3))
    assert found.error == pytest.approx(np.std(areas), rel=0.15)


# Twins


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=8)) for _ in range(count)]


def test_twins_by_neighbours_and_by_letters() -> None:
    train, tests = sentences(60, 0), sentences(5, 1)
    tests[0] = train[10].replace("a", "e", 2)  # typing errors, no neighbour
    frame = "Hello, I hope that all is well! {} Thanks a lot for your help, and have a nice day"
    tests[1], tests[2] = frame.format(train[20]), frame.format(train[30])
    rows, cosines = np.array([[1], [20], [30], [3], [4]]), np.full((5, 1), 0.9)
    cosines[2] = 0.5  # the model does not agree
    found = twins.find([tests], [train], rows, cosines)
    assert found == {0: 10, 1: 20}
    assert twins.find([tests, tests], [train, sentences(60, 7)], rows, cosines) == {}


def test_images_saved_anew_are_twins() -> None:
    draw = np.random.default_rng(0)
    shapes = [draw.integers(0, 255, (6, 6, 3), dtype=np.uint8) for _ in range(12)]
    images = [Image.fromarray(s).resize((96, 96), Image.Resampling.BICUBIC) for s in shapes]

    def pixels(image: Image.Image) -> Tensor:
        return torch.from_numpy(np.asarray(image.resize((96, 96)))).permute(2, 0, 1)

    def saved(image: Image.Image, **options: int) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", **options)
        return Image.open(file)

    anew = [saved(images[3], quality=40), saved(images[5].resize((50, 50)), quality=80)]
    one = pictures.marks(torch.stack([pixels(image) for image in images]))
    other = pictures.marks(torch.stack([pixels(image) for image in anew]))
    assert one.shape == (12, 64)
    assert sorted(pictures.twins(one, other)) == [(3, 0), (5, 1)]
    assert pictures.twins(one) == []
    each([0, 1], lambda row: check_itself(other[row]))


def check_itself(mark: Tensor) -> None:
    assert pictures.twins(torch.stack([mark, mark])) == [(0, 1)]
