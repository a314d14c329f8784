"""What the missions are known to make: to warn of a likely typo, and never to refuse anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from noa_async.catalogue.rules import MissionRule

_S1_MODES = ("S1", "S2", "S3", "S4", "S5", "S6", "IW", "EW", "WV")
_S1_KINDS = ("RAW__0S", "SLC__1S", "GRDF_1S", "GRDH_1S", "GRDM_1S", "OCN__2S")

# From the missions' product specifications, as Copernicus publishes them.
PRODUCT_TYPES: dict[str, tuple[str, ...]] = {
    "SENTINEL-1": tuple(f"{mode}_{kind}" for mode in _S1_MODES for kind in _S1_KINDS),
    "SENTINEL-2": ("S2MSI1C", "S2MSI2A"),
    "SENTINEL-3": (
        *("OL_1_EFR___", "OL_1_ERR___", "OL_2_LFR___", "OL_2_LRR___", "OL_2_WFR___"),
        *("OL_2_WRR___", "SL_1_RBT___", "SL_2_LST___", "SL_2_WST___", "SL_2_FRP___"),
        *("SL_2_AOD___", "SR_1_SRA___", "SR_1_SRA_A_", "SR_1_SRA_BS", "SR_2_LAN___"),
        *("SR_2_LAN_HY", "SR_2_LAN_LI", "SR_2_LAN_SI", "SR_2_WAT___", "SY_2_SYN___"),
        *("SY_2_VGP___", "SY_2_VG1___", "SY_2_V10___", "SY_2_AOD___"),
    ),
    "SENTINEL-5P": (
        *(f"L1B_RA_BD{band}" for band in range(1, 9)),
        *("L1B_IR_UVN", "L1B_IR_SIR", "L2__AER_AI", "L2__AER_LH", "L2__CH4___"),
        *("L2__CLOUD_", "L2__CO____", "L2__FRESCO", "L2__HCHO__", "L2__NO2___"),
        *("L2__NP_BD3", "L2__NP_BD6", "L2__NP_BD7", "L2__O3____", "L2__O3_TCL"),
        *("L2__O3__PR", "L2__SO2___"),
    ),
}
"""For each platform the product types that it is known to have."""
PLATFORMS = tuple(PRODUCT_TYPES)
VALUES: dict[str, tuple[str, ...]] = {
    "platform": PLATFORMS,
    "serial": ("A", "B", "C"),
    "polarisation": ("HH", "HV", "VH", "VV", "VV,VH", "HH,HV"),
    "orbit": ("ASCENDING", "DESCENDING"),
    "timeliness": (
        *("NRT-10m", "NRT-1h", "NRT-3h", "Fast-24h", "Off-line", "Reprocessing"),
        *("NR", "ST", "NT"),
    ),
    "instrument": ("SAR", "MSI", "OLCI", "SLSTR", "SRAL", "SYNERGY", "TROPOMI"),
    "op_mode": ("SM", "IW", "EW", "WV"),
    "proc_mode": ("NRTI", "OFFL", "RPRO"),
}
"""Of the other keys of a rule the values that are known; to be offered, and no more than that."""


def doubts(rules: Iterable[MissionRule]) -> list[str]:
    """A sentence for each platform and product type that is not known, with the nearest that is.

    >>> from noa_async.catalogue.rules import MissionRule
    >>> doubts([MissionRule(platform="SENTINEL-2", product_type=["S2MSI2A", "S2MS2A"])])
    ['SENTINEL-2 is not known to have the product type S2MS2A; did you mean S2MSI2A?']
    """
    return list(dict.fromkeys(doubt for rule in rules for doubt in _doubts(rule)))


def _doubts(rule: MissionRule) -> Iterable[str]:
    asked = _all(rule.platform) or PLATFORMS
    known = [kind for platform in asked for kind in PRODUCT_TYPES.get(platform, ())]
    unknown = [platform for platform in asked if platform not in PRODUCT_TYPES]
    for platform in unknown:
        yield f"{platform} is no platform that is known here{_nearest(platform, PLATFORMS)}"
    if unknown:
        return
    whose = " or ".join(_all(rule.platform)) or "No mission"
    verb = "is not known" if rule.platform else "is known"
    for kind in _all(rule.product_type):
        if kind not in known:
            yield f"{whose} {verb} to have the product type {kind}{_nearest(kind, known)}"


def _nearest(text: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 (for mistakes only)

    near = get_close_matches(text.upper(), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else "."


def _all(values: str | Sequence[str] | None) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values or ())
