"""Run one download on several machines: a coordinator assigns products to workers of a Dask
cluster."""
