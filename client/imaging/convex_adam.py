"""client/imaging: ConvexAdam's two steps: a coupled convex search on a coarse lattice, and a descent on a finer one.

The search and its inverse consistency are those of the package `convexadam`. MIND and the descent are written anew, to
the same equations (Heinrich et al., MICCAI 2013, section 2; Siebert, Hansen, Heinrich 2021, section 2.2): there,
averaging over neighbours, of squares and of displacements, takes longer than all else, because it is done for 27 voxels
at each. Along one axis at a time it takes next to nothing.

Imported where a field is sought: torch takes seconds to load.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from convexAdam.convex_adam_utils import correlate, coupled_convex, inverse_consistency
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.adam import adam

_MIND_DILATION, _MIND_CHANNELS = 2, 12
_MIND_LIMITS = (0.001, 1000.0)
"""Of the local variance, in units of its mean over the image: the package's."""
_CONSISTENCY_STEPS = 15
_STEP = 1.0
"""Of Adam, in points of the fine lattice: the package's."""
_AVERAGES = 3


@dataclass(frozen=True)
class Search:
    """How a field is sought.

    Attributes
    ----------
    lattice, fine
        Voxels between the points of the coarse and the fine lattice; both divide the images' sizes.
    reach
        How many points of the coarse lattice the search reaches.
    iterations
        Steps of the descent.
    smoothness
        Weight of the diffusion regulariser.
    """

    lattice: int
    fine: int
    reach: int
    iterations: int
    smoothness: float


def convex_adam(fixed: NDArray[np.float32], moving: NDArray[np.float32], search: Search) -> NDArray[np.float32]:
    """Displacements (z, y, x, 3) in voxels, components in the order z, y, x, that lead from `fixed` to `moving`."""
    with torch.no_grad():
        first, second = (mind(torch.from_numpy(image)) for image in (fixed, moving))
        start = _searched(first, second, search)
        here, there = (functional.avg_pool3d(each, search.fine) for each in (first, second))
        # A voxel's channels beside each other, as they are sampled together.
        there = there.contiguous(memory_format=torch.channels_last_3d)
        start = functional.interpolate(start, size=here.shape[2:], mode="trilinear") / search.fine
    found = _descended(start, here, there, search) * search.fine
    whole = functional.interpolate(found, size=first.shape[2:], mode="trilinear")
    field: NDArray[np.float32] = np.ascontiguousarray(whole[0].permute(1, 2, 3, 0).numpy())
    return field


def mind(image: Tensor) -> Tensor:
    """(1, 12, z, y, x) how alike the places around every voxel are: the descriptor MIND-SSC of an image (z, y, x).

    Of the six neighbours two voxels away those that do not face each other are compared, twelve pairs, each by the mean
    square difference of the 27 voxels around either.
    """
    reach = _MIND_DILATION
    padded = functional.pad(image[None, None], [reach] * 6, mode="replicate")[0, 0]
    middle = [slice(reach, reach + n) for n in image.shape]
    neighbours = [
        (axis, padded[(*middle[:axis], slice(by, by + n), *middle[axis + 1 :])])
        for axis, n in enumerate(image.shape)
        for by in (0, 2 * reach)
    ]
    pairs = [
        (one, other) for k, (axis, one) in enumerate(neighbours) for along, other in neighbours[:k] if along != axis
    ]
    # One pair at a time: a volume fits the processor's cache, twelve do not.
    apart = torch.stack([_box_mean((one - other).square_()) for one, other in pairs])[None]
    apart -= apart.amin(dim=1, keepdim=True)
    spread = apart.mean(dim=1, keepdim=True)
    low, high = (limit * float(spread.mean()) for limit in _MIND_LIMITS)
    return apart.div_(spread.clamp_(low, high)).neg_().exp_()


def _box_mean(volume: Tensor) -> Tensor:
    """(z, y, x) means over the 27 voxels around each; beyond the ends a volume goes on as there."""
    mean = functional.pad(volume[None, None], [1] * 6, mode="replicate")[0, 0]
    for axis, n in enumerate(volume.shape):
        mean = mean.narrow(axis, 0, n) + mean.narrow(axis, 1, n) + mean.narrow(axis, 2, n)
    return mean.div_(27)


def _searched(first: Tensor, second: Tensor, search: Search) -> Tensor:
    """Displacements (1, 3, z, y, x) in voxels, on all voxels, that the search gives in both directions alike."""
    shape = first.shape[2:]
    coarse = [functional.avg_pool3d(each, search.lattice) for each in (first, second)]
    steps = 2 * search.reach + 1
    tried = functional.affine_grid(
        search.reach * torch.eye(3, 4)[None], [1, 1, steps, steps, steps], align_corners=True
    )
    tried = tried.permute(0, 4, 1, 2, 3).reshape(3, -1, 1)
    ways = []
    for one, other in (coarse, coarse[::-1]):
        costs, best = correlate(one, other, search.reach, search.lattice, shape, _MIND_CHANNELS)
        ways.append(coupled_convex(costs, best, tried, search.lattice, shape))
    scale = torch.tensor([n // search.lattice - 1 for n in shape]).view(1, 3, 1, 1, 1) / 2
    consistent, _ = inverse_consistency(*((way / scale).flip(1) for way in ways), iter=_CONSISTENCY_STEPS)
    return functional.interpolate(consistent.flip(1) * scale * search.lattice, size=shape, mode="trilinear")


def _descended(start: Tensor, here: Tensor, there: Tensor, search: Search) -> Tensor:
    """Displacements (1, 3, z, y, x) in points of the fine lattice after the descent from `start`."""
    shape = tuple(start.shape[2:])
    averages = [_averaging(n) for n in shape]
    moved = start.clone().requires_grad_()
    # The function, since `torch.optim.Adam` loads torch's compiler, which takes two seconds.
    first, second, step = torch.zeros_like(start), torch.zeros_like(start), torch.zeros(())
    places = functional.affine_grid(torch.eye(3, 4)[None], [1, 1, *shape], align_corners=False)
    # torch's sampling takes n / 2 points of the lattice for 1, and the components in the order x, y, z.
    halves = torch.tensor([n / 2 for n in reversed(shape)])
    for _ in range(search.iterations):
        smooth = _averaged(moved, averages)
        grid = places + smooth.permute(0, 2, 3, 4, 1).flip(-1) / halves
        # In one pass each, there and back; as a difference, its square and their mean it is a third of all the time.
        apart = functional.mse_loss(functional.grid_sample(there, grid, align_corners=False), here)
        rough = sum(torch.diff(smooth, dim=axis).square().mean() for axis in (2, 3, 4))
        loss = apart * _MIND_CHANNELS + search.smoothness * rough
        (slope,) = torch.autograd.grad(loss, moved)
        with torch.no_grad():
            adam(
                [moved], [slope], [first], [second], [], [step], foreach=False,
                amsgrad=False, beta1=0.9, beta2=0.999, lr=_STEP, weight_decay=0.0, eps=1e-8, maximize=False,
            )  # fmt: skip
    with torch.no_grad():
        return _averaged(moved, averages)


def _averaging(n: int) -> Tensor:
    """(n, n): means over a point and its two neighbours, `_AVERAGES` times over; nothing is beyond the ends."""
    once = sum(torch.diag(torch.ones(n - abs(by)), by) for by in (-1, 0, 1)) / 3
    often: Tensor = torch.linalg.matrix_power(torch.as_tensor(once), _AVERAGES)
    return often


def _averaged(field: Tensor, averages: list[Tensor]) -> Tensor:
    """A field (1, 3, z, y, x) averaged along all axes."""
    z, y, x = averages
    plane: Tensor = y @ (field @ x.T)
    averaged: Tensor = (z @ plane.flatten(3)).view(field.shape)
    return averaged
