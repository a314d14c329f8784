"""Asking the catalogue: what to ask for, and what its entries mean."""
