"""A NOA Sentinels Mirror on loopback: tokens, a catalogue with real filters, bytes, faults.

It imports nothing of the rest of noa_async: it is the witness the rest is tested against.
"""

from noa_async.emulator.catalogue import Catalogue
from noa_async.emulator.content import Content
from noa_async.emulator.faults import Fault, FaultKind, FaultPlan
from noa_async.emulator.handmade import make_product
from noa_async.emulator.product import Product
from noa_async.emulator.server import Emulator
from noa_async.emulator.settings import EmulatorSettings
from noa_async.emulator.stats import Delivery, Stats

__all__ = [
    "Catalogue",
    "Content",
    "Delivery",
    "Emulator",
    "EmulatorSettings",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "Product",
    "Stats",
    "make_product",
]
