#!/usr/bin/env python3
"""NOA's own example, on top of noa-async: the same variables, the same lines, the same files.

Edit the three variables at the bottom, set ESA_USERNAME and ESA_PASSWORD, and run it:

    python scripts/noa_mirror_documentation_example.py

It lists what matches, then brings it into the current folder, one product after the other.
``noa-async download`` and the library do that four at a time.
"""

import logging
import os
import sys

from noa_async import NoaError
from noa_async.reference import NOAClient

logging.basicConfig(level=logging.INFO, format="%(asctime)s [%(levelname)s] %(message)s")


def main() -> int:
    client = NOAClient(os.environ.get("ESA_USERNAME"), os.environ.get("ESA_PASSWORD"))
    try:
        products = client.search_complex(MISSION_RULES, ROI, TIME_CONFIG)  # type: ignore[arg-type]
    except NoaError as error:
        logging.error("%s", error)  # noqa: TRY400 (a sentence for users, not a traceback)
        return error.exit_code
    if not products:
        print("No products found. Try expanding dates or ROI.")
        return 0
    print("\n--- Download Candidates ---")
    for number, product in enumerate(products, start=1):
        print(f"{number}. {product['Name']} ({product.get('ContentLength')} bytes)", flush=True)
    failed = [
        product["Name"]
        for product in products
        if not client.download_product(product["Id"], product["Name"])
    ]
    return 1 if failed else 0


if __name__ == "__main__":
    ROI = "POLYGON((14.72 41.46, 22.19 41.46, 22.19 37.62, 14.72 37.62, 14.72 41.46))"
    TIME_CONFIG = {
        "content_start": "2026-01-11T00:00:00.000Z",
        "content_end": "2026-01-19T23:59:59.999Z",
        "pub_start": "2026-01-11T00:00:00.000Z",
        "pub_end": "2026-01-19T23:59:59.999Z",
    }
    MISSION_RULES = [
        {
            "platform": "SENTINEL-1",
            "product_type": ["S2_GRDM_1S", "IW_OCN__2S"],
            "polarisation": ["HH", "VV", "VV,VH"],
            "orbit": ["DESCENDING"],
        },
        {"platform": "SENTINEL-2", "product_type": ["S2MSI2A"], "cloud_min": 0, "cloud_max": 20},
    ]
    sys.exit(main())
