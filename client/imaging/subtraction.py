"""client/imaging: subtraction images: what one phase has more than another."""

from __future__ import annotations

import SimpleITK as sitk  # noqa: N813

from client.imaging.resampling import Grid


def subtract(minuend: sitk.Image, subtrahend: sitk.Image, clip: tuple[float, float] | None) -> sitk.Image:
    """The voxelwise difference of two registered phases, limited to a range of its own.

    Parameters
    ----------
    minuend, subtrahend
        On one grid.
    clip
        Values outside are set to the nearer limit; None for no limit.

    Returns
    -------
    sitk.Image
        float32 on that grid.

    Raises
    ------
    ValueError
        Where the grids differ.
    """
    if Grid.of(minuend) != Grid.of(subtrahend):
        raise ValueError("phases are subtracted on one grid only")
    difference = sitk.Subtract(sitk.Cast(minuend, sitk.sitkFloat32), sitk.Cast(subtrahend, sitk.sitkFloat32))
    limited: sitk.Image = sitk.Clamp(difference, sitk.sitkFloat32, *clip) if clip else difference
    return limited
