"""The catalogue's products, mission by mission, made from a seed."""

from noa_async.emulator.missions.long import make_long_products
from noa_async.emulator.missions.population import make_products

__all__ = ["make_long_products", "make_products"]
