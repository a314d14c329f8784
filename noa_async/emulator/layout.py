"""Which files a product holds: the SAFE and SEN3 forms, and how its bytes are shared out."""

import re
from functools import lru_cache

MANIFEST = "manifest"

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_ENDINGS = (".zip", ".SAFE", ".SEN3")
_S2_BANDS = ("B02", "B03", "B04", "B08")
_S3_FILES = {
    "SR_": ("reduced_measurement.nc", "standard_measurement.nc", "enhanced_measurement.nc"),
    "OL_": ("Oa01_radiance.nc", "Oa08_radiance.nc", "Oa17_radiance.nc", "geo_coordinates.nc"),
    "SL_": ("LST_in.nc", "geodetic_in.nc", "flags_in.nc"),
    "SY_": ("Syn_Oa01_reflectance.nc", "Syn_Oa08_reflectance.nc", "time.nc"),
}


def root_folder(name: str) -> str:
    """The folder that everything in the zip lies in."""
    stem = name.removesuffix(".zip")
    ending = ".SEN3" if stem.startswith("S3") else ".SAFE"
    stem = _UNSAFE.sub("_", stem)[:100]
    return stem if stem.endswith(_ENDINGS) else stem + ending


@lru_cache(maxsize=4096)
def files_of(name: str) -> tuple[tuple[str, int], ...]:
    """The files of a product's zip: path and weight; weight 0 is the manifest, a text."""
    root = root_folder(name)
    stem = root.rpartition(".")[0]
    if name.startswith("S2"):
        files = _sentinel2(stem)
    elif name.startswith("S3"):
        files = [("xfdumanifest.xml", 0)]
        names = _S3_FILES.get(name[4:7], ("measurement.nc", "geo_coordinates.nc"))
        files += [(one, 1 + 3 * (place == 0)) for place, one in enumerate(names)]
    else:
        files = _sentinel1(stem)
    return tuple((f"{root}/{path}", weight) for path, weight in files)


def _sentinel1(stem: str) -> list[tuple[str, int]]:
    kind = stem.lower().replace("_", "-")[:11].rstrip("-")
    double = stem[14:15] == "D"  # ..._1SDV_: two channels
    files = [("manifest.safe", 0), ("preview/quick-look.png", 1)]
    for place, channel in enumerate(("vv", "vh") if double else ("vv",), start=1):
        files.append((f"measurement/{kind}-{channel}-{place:03d}.tiff", 40))
    return files


def _sentinel2(stem: str) -> list[tuple[str, int]]:
    parts = stem.split("_")
    tile = next((part for part in parts if re.fullmatch(r"T\d\d[A-Z]{3}", part)), "T34SGH")
    level = "L2A" if "MSIL2A" in stem else "L1C"
    images = f"GRANULE/{level}_{tile}/IMG_DATA"
    return [
        ("manifest.safe", 0),
        *((f"{images}/{tile}_{band}.jp2", 10) for band in _S2_BANDS),
        (f"GRANULE/{level}_{tile}/QI_DATA/MSK_CLDPRB_20m.jp2", 1),
    ]


def manifest(name: str, revision: int) -> bytes:
    """The manifest's text: short, well-formed, different for each product and revision."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" version="esa/safe/sentinel">\n'
        f'  <informationPackageMap textInfo="{_UNSAFE.sub("_", name)}"/>\n'
        f"  <metadataSection><revision>{revision}</revision></metadataSection>\n"
        "</xfdu:XFDU>\n"
    ).encode()
