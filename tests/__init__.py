"""Gives each process of a parallel test run its share of the cores, before it imports a library that would take them all."""

import os

import joblib

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(variable, str(max(1, joblib.cpu_count() // WORKERS)))
    # Threads that wait would otherwise spin on a core that another process could use.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
