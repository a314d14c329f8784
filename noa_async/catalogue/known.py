"""Known products of the missions: to warn of a likely typo, never to reject a query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
"""Platform to its known product types."""
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
"""Known values of the other keys of a rule; used for suggestions only."""
_LEVELS = ("0", "1", "2", "L0", "L1", "L1b", "L2", "LEVEL0", "LEVEL1", "LEVEL2")
_MORE_VALUES = {"level": (*_LEVELS, "S2MSI1C", "S2MSI2A"), "op_mode": ("INS-NOBS",)}
"""More known values, which differ too much between missions to be suggested."""
_PLATFORM = re.compile(r"(?:SENTINEL|S)[-_ ]?(?P<number>[1-3]|5P)(?P<serial>[A-D])?", re.IGNORECASE)
_SHORT_TYPES = {
    **{name: f"S2MSI{name[-2:]}" for name in ("L1C", "L2A", "MSIL1C", "MSIL2A")},
    "GRD": "IW_GRDH_1S",
    "GRDH": "IW_GRDH_1S",
    "SLC": "IW_SLC__1S",
    "OCN": "IW_OCN__2S",
}
_SHORTEST_BEGINNING = 3
_CHANNELS = re.compile(r"[HV]{2}")
_NUMBER = re.compile(r"0*([1-9][0-9]{0,3})")

Spellings = Sequence[tuple[str, str, str]]
"""Values that a service spells differently: key of a rule, value as known here, the service's."""


def doubts(rules: Iterable[MissionRule], spellings: Spellings = ()) -> list[str]:
    """Return a warning for each value that probably matches nothing, with the value to use instead.

    | the value                                               | the warning names               |
    |---------------------------------------------------------|---------------------------------|
    | is known, and the service spells it so                  | (no warning)                    |
    | is known, and the service spells it differently         | the service's spelling          |
    | is known in another letter case, order or short form    | the known value                 |
    | resembles a known value                                 | the known value                 |
    | of ``orbit`` is a number                                | the filter for a relative orbit |
    | of ``platform``, ``product_type``, ``orbit``: any other | nothing: the value is not known |
    | of any other key: any other                             | (no warning: lists are partial) |

    >>> from noa_async.catalogue.rules import MissionRule
    >>> doubts([MissionRule(platform="SENTINEL-2", product_type=["S2MSI2A", "S2MS2A"])])
    ['SENTINEL-2 is not known to have the product type S2MS2A; did you mean S2MSI2A?']
    >>> doubts([MissionRule(orbit="descending")])
    ['orbit descending is not a known value; did you mean DESCENDING?']
    """
    told = {(key, ours): theirs for key, ours, theirs in spellings}
    return list(dict.fromkeys(doubt for rule in rules for doubt in _doubts(rule, told)))


def _doubts(rule: MissionRule, told: Mapping[tuple[str, str], str]) -> Iterable[str]:
    asked = _all(rule.platform) or PLATFORMS
    unknown = [platform for platform in asked if platform not in PRODUCT_TYPES]
    for platform in unknown:
        meant = _platform(platform) or _nearest(platform, PLATFORMS)
        yield f"{platform} is not a known platform{_did_you_mean(meant)}"
    if not unknown:
        yield from _type_doubts(rule, asked)
    for key in VALUES:
        if key != "platform":
            for value in _all(getattr(rule, key)):
                yield from _value_doubts(key, value, told)
    for value in _all(rule.level):
        yield from _value_doubts("level", value, told)


def _type_doubts(rule: MissionRule, asked: Iterable[str]) -> Iterable[str]:
    known = [kind for platform in asked for kind in PRODUCT_TYPES.get(platform, ())]
    whose = " or ".join(_all(rule.platform)) or "No mission"
    verb = "is not known" if rule.platform else "is known"
    for kind in _all(rule.product_type):
        if kind not in known:
            short = _SHORT_TYPES.get(kind.upper(), "")
            meant = short if short in known else _nearest(kind, known)
            yield f"{whose} {verb} to have the product type {kind}{_did_you_mean(meant)}"


def _value_doubts(key: str, value: str, told: Mapping[tuple[str, str], str]) -> Iterable[str]:
    written = {ours: theirs for (of, ours), theirs in told.items() if of == key}
    offered = VALUES.get(key, ())
    if value in written:
        yield f"This service spells {key} {value} as {written[value]}."
    if value in (*offered, *_MORE_VALUES.get(key, ()), *written.values()):
        return
    if key == "orbit" and (number := _NUMBER.fullmatch(value)):
        yield (
            f"orbit is the direction, ASCENDING or DESCENDING. The relative orbit {number[1]} is "
            f"selected with --filter {_RELATIVE_ORBIT.format(number[1])}"
        )
        return
    meant = _channels(value) if key == "polarisation" else ""
    meant = meant or _nearest(value, offered or _MORE_VALUES.get(key, ()))
    if meant or key == "orbit":
        yield f"{key} {value} is not a known value{_did_you_mean(written.get(meant, meant))}"


_RELATIVE_ORBIT = (
    "\"Attributes/OData.CSC.IntegerAttribute/any(att:att/Name eq 'relativeOrbitNumber' and "
    'att/OData.CSC.IntegerAttribute/Value eq {})".'
)


def _platform(text: str) -> str:
    """Return the platform that a short name such as ``S2A`` stands for; empty if none."""
    found = _PLATFORM.fullmatch(text.strip())
    if found is None:
        return ""
    serial = f" and serial={found['serial'].upper()}" if found["serial"] else ""
    return f"SENTINEL-{found['number'].upper()}{serial}"


def _channels(text: str) -> str:
    """Return the known polarisation with the same channels, in any order and with any separator."""
    channels = sorted(_CHANNELS.findall(text.upper()))
    for known in VALUES["polarisation"]:
        if channels and sorted(known.split(",")) == channels:
            return known
    return ""


def _nearest(text: str, known: Sequence[str]) -> str:
    """Return the known value most similar to a text, ignoring case; empty if none is."""
    from difflib import get_close_matches  # noqa: PLC0415 (for mistakes only)

    upper = {value.upper(): value for value in reversed(known)}
    word = text.strip().upper()
    begun = [
        value for value in upper if len(word) >= _SHORTEST_BEGINNING and value.startswith(word)
    ]
    near = begun[:1] if len(begun) == 1 else get_close_matches(word, upper, n=1, cutoff=0.6)
    return upper[near[0]] if near else ""


def _did_you_mean(meant: str) -> str:
    return f"; did you mean {meant}?" if meant else "."


def _all(values: str | Sequence[str] | None) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values or ())
