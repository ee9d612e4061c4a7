"""tests/client/learning: patients are read whole and undamaged, and stand on one side of a split only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from client.cohort.store import MANIFEST
from client.learning.dataset import Learners, load_learners
from client.learning.workbench import dealt_folds, roles
from common.errors import FedmviError
from common.federation.learning import WHOLE, Part
from common.study.fingerprint import digest
from tests.client.learning.drawn_learners import BODY, SEQUENCES, drawn_learners, small_network

IDS = ("a", "b", "c")
LABELS, FOLDS = np.array([0, 1, -1]), np.array([4, 2, 0])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A prepared store of three patients; `b` lacks t1v, and everybody has t2 as well."""
    rng = np.random.default_rng(5)
    for patient in IDS:
        for phase in ("t1a", "t1v", "t2"):
            if (patient, phase) == ("b", "t1v"):
                continue
            folder = tmp_path / "stacks" / patient / phase
            folder.mkdir(parents=True)
            np.save(folder / "pixels.npy", rng.normal(100, 60, (3, 48, 48)).astype(np.float32))
            (folder / "result.json").write_text(json.dumps({"percentiles": BODY.tolist()}))
    seal(tmp_path)
    return tmp_path


def seal(store: Path) -> None:
    files = {
        str(p.relative_to(store)): digest(p.read_bytes()) for p in sorted(store.rglob("*.*")) if p.name != MANIFEST
    }
    head = {"format": 2, "preparation": "", "inputs": {}, "content": "", "images": {"content": ""}}
    (store / MANIFEST).write_text(json.dumps({**head, "files": files}))


def load(store: Path, missing: str = "exclude", size: int = 48, combination: tuple[str, ...] = SEQUENCES) -> Learners:
    return load_learners(store, IDS, LABELS, FOLDS, combination, small_network(missing=missing, size=size))


def test_stacks_are_read_as_they_are_in_the_order_of_the_sequences(store: Path) -> None:
    people = load(store)
    assert people.ids == ("a", "c")
    assert people.sequences == SEQUENCES
    for row, patient in enumerate(people.ids):
        for branch, phase in enumerate(SEQUENCES):
            stored = np.load(store / "stacks" / patient / phase / "pixels.npy")
            np.testing.assert_array_equal(people.images[row, branch], stored)
    np.testing.assert_array_equal(people.labels, [0, -1])
    np.testing.assert_array_equal(people.folds, [4, 0])
    np.testing.assert_array_equal(people.body[1, 0], BODY)


def test_a_patient_without_a_sequence_is_left_out_or_has_a_masked_branch(store: Path) -> None:
    masked = load(store, missing="mask")
    assert masked.ids == IDS
    np.testing.assert_array_equal(masked.present, [[True, True], [True, False], [True, True]])
    assert not masked.images[1, 1].any()
    without = load(store, missing="mask", combination=("t1v",))
    assert without.ids == IDS
    np.testing.assert_array_equal(without.present[:, 0], [True, False, True])
    assert load(store, combination=("t1a",)).ids == ("a", "c"), "all combinations have the same patients"


def test_slices_are_resized_by_averaging(store: Path) -> None:
    small, whole = load(store, size=32), load(store)
    expected = functional.interpolate(
        torch.from_numpy(whole.images[:, 0]), (32, 32), mode="bilinear", antialias=True, align_corners=False
    )
    np.testing.assert_allclose(small.images[:, 0], expected.numpy(), rtol=1e-5)


def test_nobody_with_the_stacks_that_are_needed_is_an_error(store: Path) -> None:
    with pytest.raises(FedmviError) as raised:
        load(store, combination=("dwi",))
    assert raised.value.number == 390


@pytest.mark.parametrize("damage", ["changed", "missing", "infinite", "slices"])
def test_a_damaged_store_is_not_trained_on(store: Path, damage: str) -> None:
    path = store / "stacks" / "c" / "t1a" / "pixels.npy"
    pixels = np.load(path)
    if damage == "missing":
        path.unlink()
    elif damage == "changed":
        np.save(path, pixels + 1)
    elif damage == "infinite":
        np.save(path, np.full_like(pixels, np.inf))
        seal(store)
    else:
        np.save(path, pixels[:2])
        seal(store)
    with pytest.raises(FedmviError) as raised:
        load(store)
    assert raised.value.number == 212


def test_a_patient_is_there_once() -> None:
    people = drawn_learners(4)
    with pytest.raises(ValueError, match="both sides"):
        people.joined(people.keep(np.array([2])))
    with pytest.raises(ValueError, match="both sides"):
        people.keep(np.array([1, 1]))


@pytest.mark.parametrize("development", ["nested", "published"])
def test_no_patient_stands_on_two_sides_of_any_split(development: str) -> None:
    network = small_network(
        {"preset": "published"} if development == "published" else None, development=development, folds=5
    )
    people, count = drawn_learners(40), dealt_folds(network)
    folds = np.arange(40) % count
    tested: list[str] = []
    for held_out in range(count if development == "nested" else 1):
        training, validation = (set(people.keep(rows).ids) for rows in roles(network, Part(held_out), folds))
        scored = set(people.keep(folds == held_out).ids)
        assert training
        assert validation
        assert not training & validation
        assert not training & scored
        # Only the published split, which is labelled so, reports those by whom it stopped.
        assert (validation == scored) is (development == "published")
        assert not validation & scored or development == "published"
        tested += scored
    assert len(tested) == len(set(tested)) == (40 if development == "nested" else 4)
    training, validation = (set(people.keep(rows).ids) for rows in roles(network, Part(WHOLE), folds))
    assert training == set(people.ids)
    assert not validation
