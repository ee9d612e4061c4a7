"""Registration finds known displacements, says how well, and keeps no step that makes it worse."""

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from client.images.case import ReadImage
from client.imaging import registration
from client.imaging.deformable import field_transform, find_field
from client.imaging.quality import dice, jacobian, normalised_mutual_information
from client.imaging.registration import Masks, Registered, register
from client.imaging.resampling import Grid
from common.errors import FedmviError
from common.study.preparation import Preparation
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from tests.public_data import public


def preparation(modality: str = "ct", **settings: object) -> Preparation:
    """A protocol of two phases."""
    phases = ("portal", "arterial") if modality == "ct" else ("t1", "t2")
    return Preparation.model_validate(
        {
            "modality": modality,
            "phases": phases,
            "reference": phases[0],
            "radiomics": {},
            "registration": settings,
        }
    )


def liver_ct() -> tuple[sitk.Image, sitk.Image]:
    """The real liver CT with pixels twice as wide, and roughly its liver."""
    folder = public("dicom/liver_ct_series") / "image"
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    image = sitk.BinShrink(image, [2, 2, 1])
    smooth = sitk.DiscreteGaussian(sitk.Cast(image, sitk.sitkFloat32), 4.0)
    bright = sitk.BinaryMorphologicalOpening(sitk.And(smooth > 75, smooth < 150), [3, 3, 1])
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(bright))
    return image, sitk.Cast(parts == 1, sitk.sitkUInt8)


def breathing(image: sitk.Image, liver: sitk.Image, largest_mm: float, seed: int) -> sitk.Transform:
    """A smooth random displacement, mostly along z, with knots some 60 mm apart; none in the liver is larger."""
    extent = [n * width for n, width in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    spline = sitk.BSplineTransformInitializer(image, [max(2, round(length / 60)) for length in extent])
    rng = np.random.default_rng(seed)
    knots = rng.normal([[0.0], [0.3], [1.0]], [[0.4], [0.4], [0.6]], (3, len(spline.GetParameters()) // 3))
    spline.SetParameters(knots.ravel().tolist())
    field = sitk.TransformToDisplacementField(spline, sitk.sitkVectorFloat64, *_geometry(image))
    lengths = np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1)
    largest = lengths[sitk.GetArrayViewFromImage(liver) != 0].max()
    spline.SetParameters((knots * (largest_mm / largest)).ravel().tolist())
    return spline


def _geometry(image: sitk.Image) -> tuple[object, ...]:
    return image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()


def other_contrast(image: sitk.Image, moved: sitk.Transform, seed: int, noise: float = 15.0) -> sitk.Image:
    """The image displaced, with the liver darker and vessels brighter, as another phase has them, and with noise."""
    there = sitk.GetArrayFromImage(sitk.Resample(image, image, moved, sitk.sitkLinear, -1000.0, sitk.sitkFloat32))
    there = np.interp(there, [-1000, -100, 0, 40, 110, 180, 400, 1500], [-1000, -100, 0, 45, 65, 280, 430, 1500])
    there += np.random.default_rng(seed).normal(0, noise, there.shape)
    out = sitk.GetImageFromArray(np.round(there).astype(np.int16))
    out.CopyInformation(image)
    return out


def target_error(found: sitk.Transform, truth: sitk.Transform, region: sitk.Image, points: int = 300) -> float:
    """Mean distance in mm between where a point of the phase is and where it is found, for points of the region."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(region))
    errors = []
    for voxel in voxels[np.random.default_rng(0).choice(len(voxels), points)]:
        point = region.TransformIndexToPhysicalPoint([int(at) for at in voxel[::-1]])
        errors.append(np.linalg.norm(np.subtract(found.TransformPoint(truth.TransformPoint(point)), point)))
    return float(np.mean(errors))


def test_a_known_deformation_of_a_real_liver_is_recovered_within_one_and_a_half_voxels() -> None:
    fixed, liver = liver_ct()
    truth = breathing(fixed, liver, 15.0, seed=1)
    moving = other_contrast(fixed, truth, seed=1)
    done = register(ReadImage(fixed), ReadImage(moving), "arterial", preparation(), {"liver": (liver, None)})
    before, rigid, after = (target_error(way, truth, liver) for way in (sitk.Transform(), done.rigid, done.transform))
    print(f"real liver CT: TRE before {before:.2f}, rigid {rigid:.2f}, after {after:.2f} mm")
    assert done.quality.method == "deformable" and done.quality.folding == 0
    assert after < 1.5 * preparation().registration.spacing_mm
    assert after < rigid < before / 3


def test_the_breathing_of_a_simulated_patient_is_found(tmp_path: Path) -> None:
    """The geometry of the CT study's consortium; the truth is the simulation's own field."""
    declared = load_consortium("ct-federated")
    one = declared.sites[0].model_copy(update={"groups": (declared.sites[0].groups[0].model_copy(
        update={"patients": 1}),)})  # fmt: skip
    imaging = declared.imaging and declared.imaging.model_copy(update={"phases": ("arterial", "portal")})
    few = declared.model_copy(update={"sites": (one,), "imaging": imaging, "expression": None})
    make_hospitals(few, tmp_path / "sites", seed=1, workers=1)
    patient = next((tmp_path / "sites" / "truth" / one.name).iterdir())
    files = tmp_path / "sites" / one.name
    fixed, moving = (sitk.ReadImage(files / "images" / patient.name / f"{p}.nii.gz") for p in ("portal", "arterial"))
    liver = sitk.ReadImage(files / "masks" / patient.name / "liver.nii.gz")
    field = sitk.ReadImage(patient / "motion-arterial.nii.gz", sitk.sitkVectorFloat64)
    truth = sitk.DisplacementFieldTransform(field)
    done = register(ReadImage(fixed), ReadImage(moving), "arterial", preparation(), {"liver": (liver, None)})
    before, rigid, after = (target_error(way, truth, liver) for way in (sitk.Transform(), done.rigid, done.transform))
    print(f"simulated CT: TRE before {before:.2f}, rigid {rigid:.2f}, after {after:.2f} mm")
    assert done.quality.method == "deformable" and done.quality.folding == 0
    assert after < 3.0 and after < 0.5 * before


@pytest.fixture(scope="module")
def small() -> tuple[sitk.Image, sitk.Image, sitk.Transform]:
    """A torso of 5 mm with organs, another phase of it, and the way between both."""
    z, y, x = np.meshgrid(*[np.arange(n) * 5.0 for n in (32, 48, 64)], indexing="ij")

    def ball(at: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        return ((x - at[0]) / radii[0]) ** 2 + ((y - at[1]) / radii[1]) ** 2 + ((z - at[2]) / radii[2]) ** 2 <= 1

    voxels = np.where(((x - 158) / 145) ** 2 + ((y - 118) / 105) ** 2 <= 1, -80.0, -1000.0)
    for at, radii, value in (
        ((105, 110, 85), (65, 60, 50), 110.0),
        ((85, 100, 80), (14, 14, 14), 150.0),
        ((125, 125, 95), (8, 30, 8), 190.0),
        ((215, 110, 100), (38, 35, 30), 60.0),
        ((160, 165, 80), (12, 12, 200), 170.0),
        ((158, 195, 80), (24, 20, 200), 400.0),
        ((230, 150, 50), (25, 25, 30), 160.0),
    ):
        voxels[ball(at, radii)] = value
    image = sitk.GetImageFromArray(voxels.astype(np.int16))
    image.SetSpacing((5.0, 5.0, 5.0))
    image.SetOrigin((-150.0, -120.0, 30.0))
    liver = sitk.GetImageFromArray(ball((105, 110, 85), (65, 60, 50)).astype(np.uint8))
    liver.CopyInformation(image)
    return image, liver, sitk.TranslationTransform(3, (4.0, -3.0, 11.0))


def test_the_same_pair_gives_the_same_bytes(small: tuple[sitk.Image, ...], tmp_path: Path) -> None:
    image, liver = small[:2]
    moving = other_contrast(image, breathing(image, liver, 20.0, 5), 1)
    digests = []
    for name in ("first", "second"):
        done = register(ReadImage(image), ReadImage(moving), "arterial", preparation(), {"liver": (liver, None)})
        done.save(tmp_path / name)
        files = sorted((tmp_path / name).iterdir())
        assert [path.name for path in files] == ["field.npy.gz", "registration.json"]
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert digests[0] == digests[1]
    loaded = Registered.load(tmp_path / "first")
    assert loaded.quality == done.quality
    for point in ((0.0, 0.0, 100.0), (-45.0, -10.0, 115.0), (500.0, 0.0, 0.0)):
        assert loaded.transform.TransformPoint(point) == done.transform.TransformPoint(point)


def test_a_shifted_patient_is_found_and_the_numbers_of_the_shift_are_reported(small: tuple[sitk.Image, ...]) -> None:
    image, liver, way = small
    moved = sitk.Resample(liver, liver, way, sitk.sitkNearestNeighbor)
    masks: Masks = {"liver": (liver, moved), "tumour": (liver, None)}
    done = register(ReadImage(image), ReadImage(other_contrast(image, way, 1)), "arterial",
                    preparation(method="rigid"), masks)  # fmt: skip
    quality = done.quality
    assert quality.method == "rigid" and quality.fell_back == "" and done.field is None
    assert quality.translation_mm == pytest.approx(float(np.linalg.norm((4, -3, 11))), abs=1.5)
    assert quality.rotation_degrees < 1.5
    assert quality.nmi_before < quality.nmi_rigid == quality.nmi_after
    assert quality.dice_liver is not None and quality.dice_liver > 0.94
    assert quality.dice_tumour is None


def test_identical_phases_stay_where_they_are_without_a_flag(small: tuple[sitk.Image, ...]) -> None:
    image = small[0]
    done = register(ReadImage(image), ReadImage(image), "arterial", preparation(), {})
    assert done.quality.method == "none" and done.quality.fell_back == ""
    assert done.transform.TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert done.quality.nmi_before == pytest.approx(2.0)


def test_a_constant_phase_is_refused(small: tuple[sitk.Image, ...]) -> None:
    for flat in (small[0] * 0 + 40, small[0] * 0 - 1000):
        with pytest.raises(FedmviError) as caught:
            register(ReadImage(small[0]), ReadImage(flat), "arterial", preparation(), {})
        assert caught.value.number == 370
        assert "arterial" in caught.value.local


def test_a_field_that_reaches_too_far_or_folds_is_not_applied(
    small: tuple[sitk.Image, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, liver, way = small
    moving = ReadImage(other_contrast(image, way, 1))
    masks: Masks = {"liver": (liver, None)}
    near = register(ReadImage(image), moving, "arterial", preparation(max_displacement_mm=0.1), masks)
    assert near.quality.method == "rigid" and "farther than 0.1 mm" in near.quality.fell_back
    assert near.field is None and near.quality.max_displacement_mm > 0.1

    def torn(fixed: sitk.Image, moving: sitk.Image) -> np.ndarray:
        field = np.zeros((*fixed.GetSize()[::-1], 3), dtype=np.float32)
        field[::4] = 4
        return field

    monkeypatch.setattr(registration, "find_field", torn)
    folded = register(ReadImage(image), moving, "arterial", preparation(), masks)
    assert folded.quality.method == "rigid" and "folds" in folded.quality.fell_back
    monkeypatch.setattr(registration, "find_field", lambda fixed, moving: torn(fixed, moving) * np.float32("nan"))
    assert "not finite" in register(ReadImage(image), moving, "arterial", preparation(), masks).quality.fell_back


def test_a_phase_of_other_voxels_and_a_shorter_field_of_view_is_registered(small: tuple[sitk.Image, ...]) -> None:
    image, liver, way = small
    moving = sitk.Resample(
        other_contrast(image, way, 1), [70, 50, 12], sitk.Transform(), sitk.sitkLinear,
        (-155.0, -125.0, 50.0), (4.5, 4.8, 9.0), image.GetDirection(), -1000,
    )  # fmt: skip
    done = register(ReadImage(image), ReadImage(moving), "arterial", preparation(), {"liver": (liver, None)})
    inner = sitk.BinaryErode(liver, [4, 4, 4])
    assert target_error(done.transform, way, inner) < 4.5


def test_images_of_two_scanner_frames_are_brought_together(small: tuple[sitk.Image, ...]) -> None:
    image = small[0]
    moving = other_contrast(image, small[2], 1)
    away = (800.0, -900.0, 1200.0)
    moving.SetOrigin(np.add(moving.GetOrigin(), away).tolist())
    truth = sitk.TranslationTransform(3, np.subtract(small[2].GetParameters(), away).tolist())
    done = register(ReadImage(image), ReadImage(moving), "arterial", preparation(method="rigid"), {})
    point = np.array((-50.0, -10.0, 110.0))
    there = np.array(done.transform.TransformPoint(point.tolist()))
    assert np.linalg.norm(np.array(truth.TransformPoint(there.tolist())) - point) < 4


def test_mr_of_another_contrast_is_registered(small: tuple[sitk.Image, ...]) -> None:
    """T2 shows fat and fluid bright that T1 shows dark, so that intensities do not even keep their order."""
    image, liver, way = small
    hu = sitk.GetArrayFromImage(image).astype(float)
    t1 = sitk.GetImageFromArray(np.interp(hu, [-1000, -80, 60, 110, 190, 400], [0, 500, 200, 300, 150, 50]))
    there = sitk.GetArrayFromImage(sitk.Resample(image, image, way, sitk.sitkLinear, -1000.0, sitk.sitkFloat32))
    t2 = sitk.GetImageFromArray(np.interp(there, [-1000, -80, 60, 110, 190, 400], [0, 700, 600, 200, 900, 100]))
    for out in (t1, t2):
        out.CopyInformation(image)
    done = register(ReadImage(t1), ReadImage(t2), "t2", preparation("mr"), {"liver": (liver, None)})
    assert target_error(sitk.Transform(), way, liver) > 12
    assert target_error(done.transform, way, liver) < 4


def test_the_field_leads_from_the_fixed_image_to_the_moving_one() -> None:
    """The direction and the scale of ConvexAdam's field, also along a thin axis, and nothing turned on or off."""
    rng = np.random.default_rng(0)
    fixed = sitk.DiscreteGaussian(sitk.GetImageFromArray(rng.normal(size=(24, 48, 54)).astype(np.float32)), 6.0)
    shift = (2.0, -3.0, 1.0)
    moving = sitk.Resample(fixed, fixed, sitk.TranslationTransform(3, [-s for s in shift]), sitk.sitkBSpline)
    before = list(warnings.filters)
    field = find_field(fixed, moving)
    assert warnings.filters == before
    assert field[8:-8, 12:-12, 12:-12].mean(axis=(0, 1, 2)) == pytest.approx(shift[::-1], abs=0.15)


def test_a_field_in_voxels_becomes_millimetres_of_an_oblique_patient() -> None:
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, -0.3, 0.4).GetMatrix()
    grid = Grid((6, 7, 8), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), turn)
    field = np.broadcast_to(np.array((1.0, -1.0, 0.5), dtype=np.float32), (8, 7, 6, 3))
    image = grid.empty()
    here = image.TransformContinuousIndexToPhysicalPoint((2.0, 3.0, 4.0))
    there = image.TransformContinuousIndexToPhysicalPoint((2.5, 2.0, 5.0))
    assert field_transform(field, grid).TransformPoint(here) == pytest.approx(there)


def test_the_jacobian_is_that_of_itk() -> None:
    rng = np.random.default_rng(1)
    field = np.stack([sitk.GetArrayFromImage(sitk.DiscreteGaussian(sitk.GetImageFromArray(part), 2.0))
                      for part in rng.normal(0, 3, (3, 12, 14, 16))], axis=-1)  # fmt: skip
    vectors = sitk.GetImageFromArray(field[..., ::-1], isVector=True)
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(vectors, False))
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(jacobian(field)[inner], expected[inner], rtol=1e-4, atol=1e-5)


def test_mutual_information_is_two_of_an_image_with_itself_and_one_of_independent_ones() -> None:
    first, second = np.random.default_rng(3).normal(size=(2, 400_000))
    assert normalised_mutual_information(first, first) == pytest.approx(2)
    assert normalised_mutual_information(first, second) == pytest.approx(1, abs=2e-3)
    assert normalised_mutual_information(first, -5 * first + 3) == pytest.approx(2, abs=0.02)
    assert normalised_mutual_information(first, np.ones_like(first)) == 1


def test_dice_is_that_of_the_voxels(small: tuple[sitk.Image, ...]) -> None:
    liver = small[1]
    shift = sitk.TranslationTransform(3, (10.0, 0.0, 0.0))
    a = sitk.GetArrayFromImage(liver) != 0
    b = np.roll(a, -2, axis=2)
    assert dice(liver, liver, shift) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert dice(liver, liver * 0, shift) is None and dice(liver * 0, liver, shift) is None


def test_the_quality_is_of_numbers_or_nothing(small: tuple[sitk.Image, ...]) -> None:
    image, liver, way = small
    done = register(ReadImage(image), ReadImage(other_contrast(image, way, 2)), "arterial",
                    preparation(method="none"), {"liver": (liver, None)})  # fmt: skip
    assert done.quality == replace(done.quality, method="none", fell_back="", translation_mm=0.0)
    numbers = [value for value in vars(done.quality).values() if isinstance(value, float)]
    assert len(numbers) == 7 and np.isfinite(numbers).all()


def test_ours_describes_every_place_as_the_package_of_convexadam_does() -> None:
    """The same twelve numbers at every voxel, in whatever order: they are only ever compared with each other."""
    torch = pytest.importorskip("torch")
    from convexAdam.convex_adam_utils import MINDSSC

    from client.imaging.convex_adam import mind

    image = torch.from_numpy(np.random.default_rng(5).normal(0.0, 40.0, (11, 17, 14)).astype(np.float32))
    ours, theirs = mind(image)[0], MINDSSC(image[None, None], 1, 2, device="cpu")[0]
    apart = (ours[:, None] - theirs[None]).abs().amax(dim=(2, 3, 4))
    assert sorted(apart.argmin(dim=1).tolist()) == list(range(12))
    assert float(apart.amin(dim=1).max()) < 1e-5
