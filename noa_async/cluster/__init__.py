"""One run on many machines: a coordinator that deals products out to workers of a Dask cluster."""
