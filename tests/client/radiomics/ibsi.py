"""tests/client/radiomics: reference values of IBSI-1, and which of our features each of them is.

Zwanenburg et al., Radiology 2020; 295: 328. Not in the table, because only one of the two defines it: the other
morphological, local, histogram and distance-zone features of IBSI.
"""

from pathlib import Path

GLCM = {
    "joint_max": "MaximumProbability",
    "joint_avg": "JointAverage",
    "joint_var": "SumSquares",
    "joint_entr": "JointEntropy",
    "diff_avg": "DifferenceAverage",
    "diff_var": "DifferenceVariance",
    "diff_entr": "DifferenceEntropy",
    "sum_avg": "SumAverage",
    "sum_var": "ClusterTendency",
    "sum_entr": "SumEntropy",
    "energy": "JointEnergy",
    "contrast": "Contrast",
    "dissimilarity": "DifferenceAverage",
    "inv_diff": "Id",
    "inv_diff_norm": "Idn",
    "inv_diff_mom": "Idm",
    "inv_diff_mom_norm": "Idmn",
    "inv_var": "InverseVariance",
    "corr": "Correlation",
    "auto_corr": "Autocorrelation",
    "clust_tend": "ClusterTendency",
    "clust_shade": "ClusterShade",
    "clust_prom": "ClusterProminence",
    "info_corr1": "Imc1",
    "info_corr2": "Imc2",
}
SIZES = {
    "s{}e": "{short}Emphasis",
    "l{}e": "{long}Emphasis",
    "lg{}e": "LowGrayLevel{what}Emphasis",
    "hg{}e": "HighGrayLevel{what}Emphasis",
    "s{}lge": "{short}LowGrayLevelEmphasis",
    "s{}hge": "{short}HighGrayLevelEmphasis",
    "l{}lge": "{long}LowGrayLevelEmphasis",
    "l{}hge": "{long}HighGrayLevelEmphasis",
    "glnu": "GrayLevelNonUniformity",
    "glnu_norm": "GrayLevelNonUniformityNormalized",
    "gl_var": "GrayLevelVariance",
}
DEPENDENCE = {
    "lde": "SmallDependenceEmphasis",
    "hde": "LargeDependenceEmphasis",
    "lgce": "LowGrayLevelEmphasis",
    "hgce": "HighGrayLevelEmphasis",
    "ldlge": "SmallDependenceLowGrayLevelEmphasis",
    "ldhge": "SmallDependenceHighGrayLevelEmphasis",
    "hdlge": "LargeDependenceLowGrayLevelEmphasis",
    "hdhge": "LargeDependenceHighGrayLevelEmphasis",
    "glnu": "GrayLevelNonUniformity",
    "dcnu": "DependenceNonUniformity",
    "dcnu_norm": "DependenceNonUniformityNormalized",
    "gl_var": "GrayLevelVariance",
    "dc_var": "DependenceVariance",
    "dc_entr": "DependenceEntropy",
}
FIRST_ORDER = {
    "stat_mean": "Mean",
    "stat_var": "Variance",
    "stat_skew": "Skewness",
    "stat_kurt": "Kurtosis",
    "stat_median": "Median",
    "stat_min": "Minimum",
    "stat_p10": "10Percentile",
    "stat_p90": "90Percentile",
    "stat_max": "Maximum",
    "stat_iqr": "InterquartileRange",
    "stat_range": "Range",
    "stat_mad": "MeanAbsoluteDeviation",
    "stat_rmad": "RobustMeanAbsoluteDeviation",
    "stat_energy": "Energy",
    "stat_rms": "RootMeanSquared",
    "ih_entropy": "Entropy",
    "ih_uniformity": "Uniformity",
}
SHAPE = {
    "morph_volume": "MeshVolume",
    "morph_vol_approx": "VoxelVolume",
    "morph_area_mesh": "SurfaceArea",
    "morph_av": "SurfaceVolumeRatio",
    "morph_sphericity": "Sphericity",
    "morph_diam": "Maximum3DDiameter",
    "morph_pca_maj_axis": "MajorAxisLength",
    "morph_pca_min_axis": "MinorAxisLength",
    "morph_pca_least_axis": "LeastAxisLength",
    "morph_pca_elongation": "Elongation",
    "morph_pca_flatness": "Flatness",
}


def names() -> dict[str, str]:
    """Our `<class>_<name>` by IBSI's tag."""
    table = {tag: f"shape_{name}" for tag, name in SHAPE.items()}
    table |= {tag: f"firstorder_{name}" for tag, name in FIRST_ORDER.items()}
    table |= {f"cm_{tag}_3D_avg": f"glcm_{name}" for tag, name in GLCM.items()}
    for prefix, suffix, letter, short, long, what, more in (
        ("rlm", "3D_avg", "r", "ShortRun", "LongRun", "Run", {"rlnu": "RunLengthNonUniformity", "rlnu_norm":
         "RunLengthNonUniformityNormalized", "r_perc": "RunPercentage", "rl_var": "RunVariance", "rl_entr":
         "RunEntropy"}),
        ("szm", "3D", "z", "SmallArea", "LargeArea", "Zone", {"zsnu": "SizeZoneNonUniformity", "zsnu_norm":
         "SizeZoneNonUniformityNormalized", "z_perc": "ZonePercentage", "zs_var": "ZoneVariance", "zs_entr":
         "ZoneEntropy"}),
    ):  # fmt: skip
        for tag, name in (SIZES | more).items():
            ours = name.format(short=short, long=long, what=what)
            table[f"{prefix}_{tag.format(letter)}_{suffix}"] = f"{'gl' + prefix}_{ours}"
    table |= {f"ngt_{name.lower()}_3D": f"ngtdm_{name}" for name in
              ("Coarseness", "Contrast", "Busyness", "Complexity", "Strength")}  # fmt: skip
    return table | {f"ngl_{tag}_3D": f"gldm_{name}" for tag, name in DEPENDENCE.items()}


def consensus(path: Path) -> dict[str, tuple[float, float]]:
    """Reference value and tolerance by tag; a tolerance of 0 means as printed, to half of the last digit."""
    found = {}
    for line in path.read_text().splitlines()[1:]:
        value, tolerance, tag = line.split(";")
        if value:
            found[tag] = (float(value), max(float(tolerance), _half_digit(value)))
    return found


def _half_digit(value: str) -> float:
    """Half of the last of the three significant digits that are printed."""
    digits = value.lstrip("-").replace(".", "").lstrip("0")
    decimals = len(value.partition(".")[2])
    lost = max(len(digits.rstrip("0")), 3) if "." not in value else len(digits)
    return 0.5 * 10.0 ** (len(digits) - lost - decimals) * (1 + 1e-9)
