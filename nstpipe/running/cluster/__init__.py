"""The executor that uses the workers of a Dask cluster, and what belongs to it."""
