"""Keeping many products: where they lie, what is known of them."""
