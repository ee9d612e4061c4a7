"""common/networks: the trunk: from one slice of one sequence to a vector; all sequences pass the same one."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from common.networks.normalisation import normalisation_layer
from common.study.networks import Normalisation

EXPANSION = 4
"""A bottleneck puts out so many times the channels that it works in."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut: (m, inputs, h, w) -> (m, 4 width, h / stride, w / stride).

    He et al., CVPR 2016, figure 5; the 3x3 convolution has the stride. The shortcut is a 1x1 convolution where the
    shape changes. No step works in place: per-patient gradients (Opacus) need every layer's input as it was.
    """

    def __init__(self, inputs: int, width: int, kind: Normalisation, stride: int = 1) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.reduce = nn.Conv2d(inputs, width, 1, bias=False)
        self.reduce_norm = normalisation_layer(kind, width)
        self.spatial = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.spatial_norm = normalisation_layer(kind, width)
        self.expand = nn.Conv2d(width, outputs, 1, bias=False)
        self.expand_norm = normalisation_layer(kind, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, normalisation_layer(kind, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(m, inputs, h, w) -> (m, outputs, h', w')."""
        inner = functional.relu(self.reduce_norm(self.reduce(x)))
        inner = functional.relu(self.spatial_norm(self.spatial(inner)))
        return functional.relu(self.expand_norm(self.expand(inner)) + self.shortcut(x))


class Trunk(nn.Module):
    """One slice to one vector: (m, 1, h, w) -> (m, 8 width).

    =============================================  ==========================  =====================  ==========
    layer (width 64, 6 blocks, 320 x 320)          output                      with `width` w         parameters
    =============================================  ==========================  =====================  ==========
    7x7 convolution, stride 2, normalisation       (m, 64, 160, 160)           w                           3,264
    3x3 maximum, stride 2                          (m, 64, 80, 80)             w                               0
    6 bottlenecks of width 64                      (m, 256, 80, 80)            4 w                       427,008
    6 bottlenecks of width 128, first stride 2     (m, 512, 40, 40)            8 w                     1,779,712
    mean over rows and columns                     (m, 512)                    8 w                             0
    =============================================  ==========================  =====================  ==========

    2,209,984 parameters, whatever the normalisation: each of the 7,744 normalised channels has a scale and a shift.
    """

    def __init__(self, kind: Normalisation, width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False)
        self.stem_norm = normalisation_layer(kind, width)
        narrow, wide = EXPANSION * width, EXPANSION * 2 * width
        first = [Bottleneck(width, width, kind), *(Bottleneck(narrow, width, kind) for _ in range(blocks - 1))]
        second = [
            Bottleneck(narrow, 2 * width, kind, stride=2),
            *(Bottleneck(wide, 2 * width, kind) for _ in range(blocks - 1)),
        ]
        self.narrow = nn.Sequential(*first)
        self.wide = nn.Sequential(*second)

    def maps(self, slices: Tensor) -> Tensor:
        """What is seen where: (m, 1, h, w) -> (m, 8 width, h / 8, w / 8)."""
        x = functional.relu(self.stem_norm(self.stem(slices)))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        maps: Tensor = self.wide(self.narrow(x))
        return maps

    def forward(self, slices: Tensor) -> Tensor:
        """(m, 1, h, w) -> (m, 8 width)."""
        return self.maps(slices).mean(dim=(2, 3))
