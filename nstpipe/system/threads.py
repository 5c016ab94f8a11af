"""How many threads a process may compute with, and how urgent they are."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""Environment variables that set the threads of the libraries that compute here."""


def core_count() -> int:
    """Return how many cores this process may use: those of its affinity, or its container's quota if that is less."""
    import joblib  # takes a tenth of a second

    return max(1, int(joblib.cpu_count()))


def is_chosen_by_user(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the user has said in the environment how many threads torch has."""
    return "OMP_NUM_THREADS" in environment or "MKL_NUM_THREADS" in environment


def limit_threads(threads: int) -> None:
    """Let torch and OpenCV compute with so many threads in this process from now on.

    Results of torch with another number of threads differ in the last digits. Those of OpenCV do not.
    """
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def respect_quota() -> None:
    """Let torch have no more threads than its container's quota has cores.

    By itself torch counts the cores of the machine. Beyond the quota, the system would stop all threads again and again.
    """
    import torch

    if torch.get_num_threads() > core_count() and not is_chosen_by_user():
        limit_threads(core_count())


NICENESS = 5
"""How much lower the priority of a thread is whose work is not urgent: it gets a third of a core that both want."""


def lower_priority() -> None:
    """Lower the priority of this thread, and of the threads and processes that it starts from now on.

    Only Linux has priorities of single threads, so nothing is done on other systems.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
