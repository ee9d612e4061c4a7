"""Filters by matrices are ITK's recursive filters."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from client.radiomics.filters import laplacian_of_gaussian
from client.radiomics.gaussian import gaussian_matrix

ITK = {0: sitk.RecursiveGaussianImageFilter.ZeroOrder, 2: sitk.RecursiveGaussianImageFilter.SecondOrder}


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(4, 120), sigma=st.floats(0.5, 10), width=st.floats(0.3, 5), order=st.sampled_from([0, 2])
)  # fmt: skip
def test_a_matrix_gives_what_the_recursion_gives_but_for_single_last_bits(
    n: int, sigma: float, width: float, order: int
) -> None:
    lines = np.random.default_rng(n).normal(60, 200, (100, n)).astype(np.float32)
    image = sitk.GetImageFromArray(lines[None])
    image.SetSpacing((width, 1.0, 1.0))
    expected = sitk.GetArrayFromImage(sitk.RecursiveGaussian(image, sigma, True, ITK[order], 0))[0]
    found = (lines.astype(np.float64) @ gaussian_matrix(n, sigma, width, order).T).astype(np.float32)  # type: ignore[arg-type]
    assert (found == expected).mean() > 0.998
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("sigma", [1.0, 3.0, 5.0])
def test_a_box_of_the_laplacian_is_that_of_itk_on_the_whole(sigma: float) -> None:
    rng = np.random.default_rng(2)
    image = sitk.GetImageFromArray(rng.normal(60, 100, (40, 60, 50)).astype(np.float32))
    image.SetSpacing((1.0, 0.9, 2.0))
    whole = sitk.LaplacianRecursiveGaussian(image, sigma, True)
    box = ((20, 25, 17), (9, 11, 7))
    found = laplacian_of_gaussian(image, sigma, box)
    expected = sitk.RegionOfInterest(whole, box[1], box[0])
    assert found.GetOrigin() == pytest.approx(expected.GetOrigin())
    found, expected = sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected)
    assert (found == expected).mean() > 0.99
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
