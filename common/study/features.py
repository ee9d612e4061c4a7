"""common/study: names of radiomics features: `<image>.<region>.<filter>_<class>_<name>`.

Classes and names are those of pyradiomics 3.0.1 (van Griethuysen et al., Cancer Research 2017; 77: e104), without the
ones that it calls deprecated; each is defined in its documentation.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from common.study.dictionary import Variable

FeatureClass = Literal["firstorder", "shape", "glcm", "glrlm", "glszm", "gldm", "ngtdm"]
LANDMARKS = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
"""Percentiles of the body's intensities that describe an MR image (Nyul et al., IEEE Trans Med Imaging 2000; 19: 143;
these percentiles as in Shah et al., Med Image Anal 2011; 15: 267)."""

CLASSES: Mapping[FeatureClass, tuple[str, ...]] = MappingProxyType(
    {
        "firstorder": (
            "10Percentile",
            "90Percentile",
            "Energy",
            "Entropy",
            "InterquartileRange",
            "Kurtosis",
            "Maximum",
            "Mean",
            "MeanAbsoluteDeviation",
            "Median",
            "Minimum",
            "Range",
            "RobustMeanAbsoluteDeviation",
            "RootMeanSquared",
            "Skewness",
            "TotalEnergy",
            "Uniformity",
            "Variance",
        ),
        "shape": (
            "Elongation",
            "Flatness",
            "LeastAxisLength",
            "MajorAxisLength",
            "Maximum2DDiameterColumn",
            "Maximum2DDiameterRow",
            "Maximum2DDiameterSlice",
            "Maximum3DDiameter",
            "MeshVolume",
            "MinorAxisLength",
            "Sphericity",
            "SurfaceArea",
            "SurfaceVolumeRatio",
            "VoxelVolume",
        ),
        "glcm": (
            "Autocorrelation",
            "ClusterProminence",
            "ClusterShade",
            "ClusterTendency",
            "Contrast",
            "Correlation",
            "DifferenceAverage",
            "DifferenceEntropy",
            "DifferenceVariance",
            "Id",
            "Idm",
            "Idmn",
            "Idn",
            "Imc1",
            "Imc2",
            "InverseVariance",
            "JointAverage",
            "JointEnergy",
            "JointEntropy",
            "MCC",
            "MaximumProbability",
            "SumAverage",
            "SumEntropy",
            "SumSquares",
        ),
        "glrlm": (
            "GrayLevelNonUniformity",
            "GrayLevelNonUniformityNormalized",
            "GrayLevelVariance",
            "HighGrayLevelRunEmphasis",
            "LongRunEmphasis",
            "LongRunHighGrayLevelEmphasis",
            "LongRunLowGrayLevelEmphasis",
            "LowGrayLevelRunEmphasis",
            "RunEntropy",
            "RunLengthNonUniformity",
            "RunLengthNonUniformityNormalized",
            "RunPercentage",
            "RunVariance",
            "ShortRunEmphasis",
            "ShortRunHighGrayLevelEmphasis",
            "ShortRunLowGrayLevelEmphasis",
        ),
        "glszm": (
            "GrayLevelNonUniformity",
            "GrayLevelNonUniformityNormalized",
            "GrayLevelVariance",
            "HighGrayLevelZoneEmphasis",
            "LargeAreaEmphasis",
            "LargeAreaHighGrayLevelEmphasis",
            "LargeAreaLowGrayLevelEmphasis",
            "LowGrayLevelZoneEmphasis",
            "SizeZoneNonUniformity",
            "SizeZoneNonUniformityNormalized",
            "SmallAreaEmphasis",
            "SmallAreaHighGrayLevelEmphasis",
            "SmallAreaLowGrayLevelEmphasis",
            "ZoneEntropy",
            "ZonePercentage",
            "ZoneVariance",
        ),
        "gldm": (
            "DependenceEntropy",
            "DependenceNonUniformity",
            "DependenceNonUniformityNormalized",
            "DependenceVariance",
            "GrayLevelNonUniformity",
            "GrayLevelVariance",
            "HighGrayLevelEmphasis",
            "LargeDependenceEmphasis",
            "LargeDependenceHighGrayLevelEmphasis",
            "LargeDependenceLowGrayLevelEmphasis",
            "LowGrayLevelEmphasis",
            "SmallDependenceEmphasis",
            "SmallDependenceHighGrayLevelEmphasis",
            "SmallDependenceLowGrayLevelEmphasis",
        ),
        "ngtdm": (
            "Busyness",
            "Coarseness",
            "Complexity",
            "Contrast",
            "Strength",
        ),
    }
)
"""Features of every class."""

SHARES = frozenset(
    {
        "Uniformity", "Correlation", "Id", "Idm", "Idmn", "Idn", "Imc1", "Imc2", "InverseVariance", "JointEnergy",
        "MCC", "MaximumProbability", "GrayLevelNonUniformityNormalized", "RunLengthNonUniformityNormalized",
        "RunPercentage", "ShortRunEmphasis", "LowGrayLevelRunEmphasis", "ShortRunLowGrayLevelEmphasis",
        "SizeZoneNonUniformityNormalized", "ZonePercentage", "SmallAreaEmphasis", "LowGrayLevelZoneEmphasis",
        "SmallAreaLowGrayLevelEmphasis", "DependenceNonUniformityNormalized", "SmallDependenceEmphasis",
        "LowGrayLevelEmphasis", "SmallDependenceLowGrayLevelEmphasis", "Sphericity", "Elongation", "Flatness",
    }
)  # fmt: skip
"""Features that cannot be farther from 0 than 1."""

SIGNED = frozenset(
    {
        "10Percentile", "90Percentile", "Maximum", "Mean", "Median", "Minimum", "Skewness", "Correlation", "Imc1",
        "ClusterShade",
    }
)  # fmt: skip
"""Features that can be negative."""

USUAL = frozenset(
    {
        "10Percentile", "90Percentile", "Entropy", "InterquartileRange", "Kurtosis", "Maximum", "Mean", "Median",
        "MeanAbsoluteDeviation", "Minimum", "Range", "RobustMeanAbsoluteDeviation", "RootMeanSquared", "Skewness",
        "DifferenceAverage", "DifferenceEntropy", "JointAverage", "JointEntropy", "SumAverage", "SumEntropy",
        "RunEntropy", "ZoneEntropy", "DependenceEntropy", "LeastAxisLength", "MajorAxisLength", "MinorAxisLength",
        "Maximum2DDiameterColumn", "Maximum2DDiameterRow", "Maximum2DDiameterSlice", "Maximum3DDiameter",
        "SurfaceVolumeRatio", "DependenceVariance", "LargeDependenceEmphasis", *(f"P{at}" for at in LANDMARKS),
    }
)  # fmt: skip
"""Features on the scale of intensities, of millimetres or of bits, which stay within 10,000 of 0."""

SQUARES = frozenset(
    {
        "Variance", "Autocorrelation", "Contrast", "DifferenceVariance", "GrayLevelVariance", "SumSquares",
        "HighGrayLevelEmphasis", "HighGrayLevelRunEmphasis", "HighGrayLevelZoneEmphasis",
        "ShortRunHighGrayLevelEmphasis", "SmallAreaHighGrayLevelEmphasis", "SmallDependenceHighGrayLevelEmphasis",
    }
)  # fmt: skip
"""Features on the scale of squares of intensities or grey levels, of which there are 1,000 at most."""

USUAL_LIMIT = 1e4
LINEAR_LIMIT = 1e6
"""Beyond it a number is no predictor on its own scale: sums of squares would lose what matters, or not fit."""

LARGEST = 1e18
"""Bound of every other feature: energies, products of grey levels, sizes of zones."""

FEATURE = re.compile(
    r"(?P<image>[a-z0-9]+(?:-[a-z0-9]+)*)\.(?P<region>[a-z0-9]+(?:-[a-z0-9]+)*)\."
    r"(?P<filter>original|log-sigma-[0-9]+-[0-9]+-mm-3D|wavelet-[LH]{3})_(?P<kind>[a-z]+)_(?P<name>[A-Za-z0-9]+)"
)
"""The parts of a feature's name."""


def feature_name(image: str, region: str, filtered: str, kind: str, name: str) -> str:
    """The column of one feature."""
    return f"{image}.{region}.{filtered}_{kind}_{name}"


def second_reading(name: str) -> str:
    """The column of the second reader's values of a feature."""
    return f"reader2:{name}"


def filter_names(log_sigma_mm: Sequence[float], wavelet: bool) -> tuple[str, ...]:
    """Names of filters as pyradiomics writes them: `original`, then LoG by width, then the wavelet bands."""
    logs = [f"log-sigma-{str(float(sigma)).replace('.', '-')}-mm-3D" for sigma in log_sigma_mm]
    bands = ["".join(band) for band in itertools.product("LH", repeat=3)] if wavelet else []
    return ("original", *logs, *(f"wavelet-{band}" for band in bands))


def feature_variable(name: str) -> Variable:
    """A feature as a predictor; a study that knows a narrower range declares it under [[variables]].

    The range is public and holds every value that is possible, so no site ever sends its own minimum or maximum.
    """
    found = FEATURE.fullmatch(name)
    of = found["name"] if found else ""
    limits = ((SHARES, 1.0), (USUAL, USUAL_LIMIT), (SQUARES, LINEAR_LIMIT))
    limit = next((limit for names, limit in limits if of in names), LARGEST)
    low = -limit if of in SIGNED else 0.0
    return Variable(name=name, label=name, kind="continuous", known="preoperative", low=low, high=limit)
