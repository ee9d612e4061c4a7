"""client/images: whether the libraries for images are there; a site that answers with tables does without them."""

from __future__ import annotations

from common.terminal import need

LIBRARIES = ("SimpleITK", "pydicom", "gdcm", "nibabel", "radiomics", "PIL", "torch", "convexAdam")
"""By the names under which they are imported; the extra `site` installs them all."""


def need_image_libraries() -> None:
    """Error 804 where a library for images is not installed."""
    need("site", *LIBRARIES)
