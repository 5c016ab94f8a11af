"""A sentence about a job that the user should know before the work begins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JobNotice:
    """Something that the user should know of a job. It stops nothing.

    Attributes:
        job: the name of the job.
        message: a sentence.
    """

    job: str
    message: str

    def __str__(self) -> str:
        return f"{self.job}: {self.message}"
