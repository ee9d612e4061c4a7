"""Resampling: a part has the values of the whole, the field of view stays, masks keep their volume and thin regions."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import spline_filter

from client.imaging.resampling import Grid, bounding_box, covered, resample_image, resample_mask, shrink, whole_grid
from client.imaging.subtraction import subtract

OBLIQUE = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.1, -0.2, 0.3).GetMatrix()


def noise(size: tuple[int, int, int], spacing: tuple[float, float, float], seed: int = 0) -> sitk.Image:
    """Voxels of CT without any smoothness, oblique."""
    image = sitk.GetImageFromArray(np.random.default_rng(seed).integers(-1000, 1500, size[::-1]).astype(np.int16))
    image.SetSpacing(spacing)
    image.SetOrigin((12.5, -40.0, 900.0))
    image.SetDirection(OBLIQUE)
    return image


def sphere(radius: float, spacing: tuple[float, float, float], off: float) -> sitk.Image:
    """A ball of a radius in mm whose middle lies `off` slices beside a slice's."""
    half = [int(np.ceil((radius + 6) / width)) for width in spacing]
    x, y, z = (np.arange(-n, n + 1) * width for n, width in zip(half, spacing, strict=True))
    z = z + off * spacing[2]
    inside = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2 <= radius**2
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.SetSpacing(spacing)
    return mask


def volume(mask: sitk.Image) -> float:
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * np.prod(mask.GetSpacing()))


def waves(grid: Grid) -> sitk.Transform:
    """A turn, a shift and a field."""
    field = sitk.GetImageFromArray(np.random.default_rng(4).normal(0, 2, (8, 8, 8, 3)), isVector=True)
    extent = np.array(grid.size) * grid.spacing
    field.SetSpacing((extent / 7).tolist())
    field.SetOrigin(grid.origin)
    field.SetDirection(grid.direction)
    rigid = sitk.Euler3DTransform(grid.origin, 0.05, 0.02, -0.04, (3.0, -2.0, 6.0))
    return sitk.CompositeTransform([rigid, sitk.DisplacementFieldTransform(field)])


@pytest.mark.parametrize("how", ["b-spline", "linear"])
@pytest.mark.parametrize("deformed", [False, True])
def test_a_part_has_the_values_of_the_whole(how: str, deformed: bool) -> None:
    image = noise((150, 140, 60), (0.8, 0.8, 2.0))
    grid = whole_grid(image, (1.0, 1.0, 1.0))
    way = waves(grid) if deformed else None
    whole = sitk.GetArrayFromImage(resample_image(image, grid, how, way))  # type: ignore[arg-type]
    for start, size in (((50, 45, 55), (12, 14, 10)), ((0, 0, 0), (9, 30, 7)), ((100, 100, 100), (20, 12, 20))):
        (x, y, z), (i, j, k) = start, size
        part = sitk.GetArrayFromImage(resample_image(image, grid.part(start, size), how, way))  # type: ignore[arg-type]
        expected = whole[z : z + k, y : y + j, x : x + i]
        # Where voxels lie is rounded in another order: some differ in float32's last bit, none by more than 1e-4 HU.
        np.testing.assert_allclose(part, expected, rtol=2e-7, atol=1e-4)
        assert (part == expected).mean() > 0.99


def test_a_part_may_reach_beyond_the_field_of_view() -> None:
    image = noise((20, 20, 20), (1.0, 1.0, 1.0))
    grid = Grid.of(image)
    part = sitk.GetArrayFromImage(resample_image(image, grid.part((-5, 0, 18), (10, 20, 10)), "b-spline"))
    voxels = sitk.GetArrayFromImage(image)
    np.testing.assert_allclose(part[:2, :, 5:], voxels[18:, :, :5], atol=0.01)
    np.testing.assert_allclose(part[5, :, 0], voxels[19, :, 0])
    far = resample_image(image, grid.part((500, 500, 500), (3, 3, 3)), "b-spline")
    assert (sitk.GetArrayFromImage(far) == voxels[19, 19, 19]).all()


def test_the_spline_is_scipys() -> None:
    """An independent oracle: the coefficients with mirrored ends, evaluated by hand half way between voxels."""
    image = noise((40, 3, 3), (2.0, 1.0, 1.0))
    line = np.arange(40) % 7 * 100.0
    flat = sitk.GetImageFromArray(np.broadcast_to(line, (3, 3, 40)).astype(np.float32))
    flat.CopyInformation(image)
    out = sitk.GetArrayFromImage(resample_image(flat, Grid.of(flat), "b-spline", None))
    np.testing.assert_allclose(out[1, 1], line, atol=1e-3)
    half = Grid.of(flat).part((0, 0, 0), (39, 3, 3))
    half = Grid(half.size, half.spacing, flat.TransformContinuousIndexToPhysicalPoint((0.5, 0, 0)), half.direction)
    c = np.pad(spline_filter(line, 3, mode="mirror"), 1, mode="reflect")
    expected = (c[:-3] + 23 * c[1:-2] + 23 * c[2:-1] + c[3:]) / 48
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(resample_image(flat, half, "b-spline"))[1, 1], expected, atol=1e-2
    )


@settings(max_examples=20, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12)),
    new=st.tuples(*[st.floats(0.5, 3)] * 3),
    start=st.tuples(*[st.integers(-9, 9)] * 3),
    shift=st.tuples(*[st.floats(-20, 20)] * 3),
)
def test_along_parallel_axes_values_are_those_of_itks_spline_also_beyond_the_image(
    size: tuple[int, int, int],
    new: tuple[float, float, float],
    start: tuple[int, int, int],
    shift: tuple[float, float, float],
) -> None:
    """ITK evaluates every voxel by itself where a transform is not linear, even if it moves nothing farther."""
    image = noise(size, (0.8, 0.9, 4.0))
    grid = whole_grid(image, new).part(start, (17, 18, 15))
    straight = sitk.TranslationTransform(3, shift)
    still = sitk.DisplacementFieldTransform(sitk.Image([2, 2, 2], sitk.sitkVectorFloat64))
    found, expected = (
        sitk.GetArrayFromImage(resample_image(image, grid, "b-spline", way))
        for way in (straight, sitk.CompositeTransform([straight, still]))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 60)] * 3),
    old=st.tuples(*[st.floats(0.3, 10)] * 3),
    new=st.tuples(*[st.floats(0.5, 6)] * 3),
)
def test_the_whole_grid_lies_in_the_field_of_view_and_fills_it(
    size: tuple[int, int, int], old: tuple[float, float, float], new: tuple[float, float, float]
) -> None:
    image = sitk.Image(size, sitk.sitkUInt8)
    image.SetSpacing(old)
    image.SetDirection(OBLIQUE)
    image.SetOrigin((5.0, 6.0, 7.0))
    grid = whole_grid(image, new)
    out = grid.empty()
    extent, wide = np.array(size) * old, np.array(new)
    first = (np.array(image.TransformPhysicalPointToContinuousIndex(grid.origin)) + 0.5) * old
    last = first + (np.array(grid.size) - 1) * wide
    assert (first > 0).all() and (last <= extent + 1e-4).all()
    enough = extent >= wide
    np.testing.assert_allclose(first[enough], wide[enough] / 2, atol=1e-6)
    np.testing.assert_allclose(first[~enough], extent[~enough] / 2, atol=1e-6)
    assert (extent - last)[enough] == pytest.approx((wide / 2)[enough], abs=float(wide.max()) * 0.51)
    assert covered(image, out + 1) == 1


def test_the_same_spacing_gives_the_same_voxels() -> None:
    image = noise((17, 19, 23), (0.7, 0.7, 1.25))
    grid = whole_grid(image, image.GetSpacing())
    assert grid.size == image.GetSize() and grid.origin == pytest.approx(image.GetOrigin())
    out = sitk.GetArrayFromImage(resample_image(image, grid, "b-spline"))
    np.testing.assert_allclose(out, sitk.GetArrayFromImage(image), atol=1e-3)


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 5.0), (0.8, 0.8, 2.5), (1.5, 1.5, 3.0), (0.7, 0.7, 1.0)])
def test_shape_based_spheres_keep_their_volume_and_are_rounder_than_nearest(
    spacing: tuple[float, float, float],
) -> None:
    for radius in (10.0, 20.0):
        for off in (0.0, 0.2, 0.5):
            mask = sphere(radius, spacing, off)
            grid = whole_grid(mask, (1.0, 1.0, 1.0))
            truth = sitk.GetArrayFromImage(
                resample_mask(sphere(radius, (0.5, 0.5, 0.5), off * spacing[2] / 0.5), grid, "nearest",
                              _middle(mask, sphere(radius, (0.5, 0.5, 0.5), off * spacing[2] / 0.5)))
            )  # fmt: skip
            smooth, steps = (resample_mask(mask, grid, how) for how in ("shape-based", "nearest"))
            assert volume(smooth) == pytest.approx(volume(mask), rel=0.02)
            agreement = [(sitk.GetArrayFromImage(m) == truth).mean() for m in (smooth, steps)]
            assert agreement[0] >= agreement[1] - 1e-3


def _middle(mask: sitk.Image, other: sitk.Image) -> sitk.Transform:
    """From the points of one image to those of another with the same middle."""
    ends = [
        np.array(m.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in m.GetSize()])) for m in (mask, other)
    ]
    return sitk.TranslationTransform(3, (ends[1] - ends[0]).tolist())


@pytest.mark.parametrize("how", ["nearest", "shape-based"])
def test_thin_regions_stay(how: str) -> None:
    mask = sitk.Image(60, 60, 9, sitk.sitkUInt8)
    mask.SetSpacing((0.8, 0.8, 5.0))
    mask[20:45, 20:45, 4] = 1
    out = resample_mask(mask, whole_grid(mask, (1.0, 1.0, 1.0)), how)  # type: ignore[arg-type]
    assert volume(out) == pytest.approx(25 * 25 * 0.64 * 5, rel=0.03)
    edge = sitk.Image(60, 60, 1, sitk.sitkUInt8) + 1
    edge.SetSpacing((0.8, 0.8, 5.0))
    full = resample_mask(edge, whole_grid(edge, (1.0, 1.0, 1.0)), how)  # type: ignore[arg-type]
    # Its corners are rounded off, and what they lose would lie outside of the field of view.
    assert volume(full) == pytest.approx(volume(edge), rel=0.05)


@pytest.mark.parametrize("how", ["nearest", "shape-based"])
def test_a_part_of_a_mask_is_the_part_of_the_whole(how: str) -> None:
    mask = sphere(12.0, (0.8, 0.8, 4.0), 0.3)
    grid = whole_grid(mask, (1.0, 1.0, 1.0))
    way = waves(grid)
    for there in (None, way):
        whole = resample_mask(mask, grid, how, there)  # type: ignore[arg-type]
        assert set(np.unique(sitk.GetArrayFromImage(whole))) == {0, 1}
        part = resample_mask(mask, grid.part((10, 8, 9), (9, 11, 7)), how, there)  # type: ignore[arg-type]
        np.testing.assert_array_equal(sitk.GetArrayFromImage(part), sitk.GetArrayFromImage(whole)[9:16, 8:19, 10:19])


def test_an_empty_mask_stays_empty() -> None:
    mask = sitk.Image(5, 5, 5, sitk.sitkUInt8)
    assert bounding_box(mask) == ((0, 0, 0), (0, 0, 0))
    assert volume(resample_mask(mask, whole_grid(mask, (0.5, 0.5, 0.5)), "shape-based")) == 0


def test_the_share_of_a_region_that_a_phase_shows_is_told() -> None:
    phase = noise((30, 30, 10), (2.0, 2.0, 3.0))
    region = Grid.of(phase).part((5, 5, 5), (10, 10, 10)).empty() + 1
    assert covered(phase, region) == pytest.approx(0.5)
    up = sitk.TranslationTransform(3, (np.reshape(OBLIQUE, (3, 3)) @ (0, 0, -15.0)).tolist())
    assert covered(phase, region, up) == 1
    assert covered(phase, region * 0) == 1


def test_shrinking_takes_means_and_keeps_places() -> None:
    image = noise((21, 20, 9), (0.8, 0.8, 5.0))
    small = shrink(image, 3.0)
    assert small.GetSize() == (7, 6, 9) and small.GetSpacing() == pytest.approx((2.4, 2.4, 5.0))
    voxels = sitk.GetArrayFromImage(image)
    assert small[2, 3, 4] == pytest.approx(voxels[4, 9:12, 6:9].mean(), rel=1e-6)
    assert small.TransformIndexToPhysicalPoint((2, 3, 4)) == pytest.approx(
        image.TransformIndexToPhysicalPoint((7, 10, 4))
    )


def test_differences_are_limited_to_a_range_of_their_own_and_need_one_grid() -> None:
    first, second = noise((9, 9, 9), (1.0, 1.0, 1.0), 1), noise((9, 9, 9), (1.0, 1.0, 1.0), 2)
    a, b = (sitk.GetArrayFromImage(image).astype(np.float32) for image in (first, second))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(subtract(first, second, None)), a - b)
    limited = sitk.GetArrayFromImage(subtract(first, second, (-200.0, 300.0)))
    np.testing.assert_array_equal(limited, np.clip(a - b, -200, 300))
    second.SetOrigin((12.5, -40.0, 900.0001))
    with pytest.raises(ValueError, match="grid"):
        subtract(first, second, None)
