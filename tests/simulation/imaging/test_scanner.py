"""tests/simulation: a scanner adds the declared blur, noise, error, gain and coil bias, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from simulation.cohorts.consortium import Scanner
from simulation.imaging.scanner import coil_of, ct, mr
from simulation.imaging.volume import Grid
from tests.simulation.imaging.subjects import CLEAR, imaging, pictured, subject, tissues

GRID = Grid((30, 60, 60), (5.0, 1.5, 1.5), (-75.0, -45.0, -45.0))
INNER = (slice(3, -3), slice(8, -8), slice(8, -8))  # the edge is blurred with fewer neighbours
TO_WHOLE_NUMBERS = 1 / 12  # variance of rounding


def scanner(**changes: float) -> Scanner:
    return Scanner(**{**CLEAR, "spacing_mm": 1.5, "slice_mm": 5.0, **changes})


def rng() -> np.random.Generator:
    return np.random.default_rng(8)


def level(value: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full(GRID.shape, value, dtype=np.float32)


@pytest.mark.parametrize("kernel_mm", [0.0, 2.2, 6.0])
def test_ct_noise_has_the_declared_standard_deviation_after_any_blur(kernel_mm: float) -> None:
    seen = ct(level(60), GRID, scanner(noise_hu=20, kernel_mm=kernel_mm), rng())[INNER]
    assert math.sqrt(seen.var() - TO_WHOLE_NUMBERS) == pytest.approx(20, rel=0.03)
    assert seen.mean() == pytest.approx(60, abs=1)
    side = np.corrcoef(seen[:, :, 1:].ravel(), seen[:, :, :-1].ravel())[0, 1]
    assert side > 0.5 if kernel_mm == 6 else side < 0.5


def test_noise_is_laid_over_a_patient_who_is_otherwise_the_same() -> None:
    declared = imaging(motion_mm=9.0, phases=("arterial", "portal"))
    quiet, loud = (pictured(3, declared, None, scanner(spacing_mm=3.8, slice_mm=7.0, noise_hu=n)) for n in (0, 20))
    grid = quiet.phases["portal"].grid
    body = tissues(subject(3, declared, grid), grid)[2:-2, 5:-5, 5:-5] > 0
    for phase, volume in loud.phases.items():
        noise = (volume.voxels - quiet.phases[phase].voxels)[2:-2, 5:-5, 5:-5][body]
        assert noise.std() == pytest.approx(20, rel=0.03)
        assert abs(noise.mean()) < 0.5


def test_the_calibration_error_is_added_to_every_voxel() -> None:
    picture = rng().normal(50, 80, GRID.shape).astype(np.float32)
    right, wrong = (ct(picture, GRID, scanner(noise_hu=10, bias_hu=bias), rng()).astype(int) for bias in (0, -7))
    np.testing.assert_array_equal(wrong, right - 7)


def test_the_blur_in_the_plane_has_the_declared_width() -> None:
    edge = np.where(np.arange(60) < 30, 0, 2000).astype(np.float32)
    for picture, across in ((level(1) * edge, 2), (level(1) * edge[:, None], 1)):
        seen = ct(picture, GRID, scanner(kernel_mm=7.0), rng())
        profile = np.diff(seen.mean(axis=tuple({0, 1, 2} - {across})))
        at = np.arange(59) - np.average(np.arange(59), weights=profile)
        width = 2 * math.sqrt(2 * math.log(2) * np.average(at**2, weights=profile)) * GRID.spacing[across]
        assert width == pytest.approx(7.0, rel=0.06)  # the curve is cut off, which makes it narrower by 4 %


def test_mr_background_has_a_rayleigh_distribution_with_the_declared_noise() -> None:
    declared = scanner(noise_share=0.04, gain=30.0)  # a gain so high that whole numbers do not matter
    background = mr(level(0), GRID, declared, coil_of(rng()), rng()).ravel()
    liver = mr(level(100), GRID, declared, coil_of(rng()), rng())
    share = background / liver.mean()
    assert share.mean() == pytest.approx(0.04 * math.sqrt(math.pi / 2), rel=0.01)
    assert stats.kstest(share[::20] / 0.04, "rayleigh").pvalue > 0.01
    assert liver.std() / liver.mean() == pytest.approx(0.04, rel=0.02)


def test_gain_multiplies_every_mr_signal() -> None:
    picture = rng().uniform(0, 300, GRID.shape).astype(np.float32)
    single, fivefold = (
        mr(picture, GRID, scanner(noise_share=0.05, coil_bias=0.3, gain=gain), coil_of(rng()), rng()).astype(int)
        for gain in (1, 5)
    )
    assert np.abs(fivefold - 5 * single).max() <= 3
    assert single.mean() > 100


def test_the_coil_shades_mr_smoothly_with_the_declared_spread() -> None:
    sparse = Grid((3, 3, 3), (150.0, 150.0, 150.0), (-150.0, -150.0, -150.0))
    fine = Grid((2, 2, 20), (5.0, 5.0, 5.0), (0.0, 0.0, -50.0))
    draws, steps = [], []
    for number in range(200):
        coil = coil_of(np.random.default_rng(number))
        for grid, found in ((sparse, draws), (fine, steps)):
            even = np.full(grid.shape, 100, dtype=np.float32)
            found.append(np.log(mr(even, grid, scanner(coil_bias=0.25, gain=20), coil, rng()) / 6000))
    assert np.mean(draws) == pytest.approx(0, abs=0.02)
    assert np.std(draws) == pytest.approx(0.25, rel=0.05)
    assert np.abs(np.diff(steps, axis=3)).max() < 0.1
