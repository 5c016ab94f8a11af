"""Picks paintings of a collection, so that a painting that joins it or leaves it changes as few picks as possible."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Skipped:
    """A painting that was picked and cannot be used.

    Attributes:
        problem: Why it cannot be used.
        successor: The index of the painting that took its place; None if there was none.
    """

    problem: str
    successor: int | None


class Picker:
    """Picks by rendezvous hashing (Thaler and Ravishankar 1998): each unit takes the painting with its highest score.

    The score of a painting for a unit is a hash of the seed and both names, so it does not depend on any other painting. A unit
    is what gets one painting: an input, or pictures that are linked to each other.

    Args:
        names: The names of the paintings.
        seed: The seed.
        problem_of: Returns why a painting cannot be used, by its index; empty if it can. It is called for a painting when it is
            first picked.

    Attributes:
        skipped: The paintings that were picked and cannot be used, in the order in which they were picked.
    """

    def __init__(self, names: Sequence[str], seed: int, problem_of: Callable[[int], str]) -> None:
        self._keys = np.array([_hash(name) for name in names], np.uint64)
        self._seed = seed
        self._problem_of = problem_of
        self._known_good: set[int] = set()
        self._usable = np.ones(len(names), bool)
        self.skipped: list[Skipped] = []

    def best(self, unit: str) -> int | None:
        """Return the painting of a unit, whatever the others get; None if no painting can be used.

        If a painting joins, only units that get the new one change. If one leaves, only those that had it change.
        """
        return self._pick(self._scores(unit))

    def in_turn(self, units: Sequence[str]) -> Iterator[int | None]:
        """Yield the painting of each of several units, so that none is used again until every other was used as often.

        Each unit in turn takes its best among the paintings that are left in this round. A unit at the end changes none before
        it. If a painting joins n others, each of the first n units changes with a probability of about 1 in the number of
        paintings that are left to it, so about ln n of them do. In later rounds more do.
        """
        left = np.ones(len(self._keys), bool)
        for unit in units:
            scores = self._scores(unit)
            index = self._pick(scores, left)
            if index is None:
                left[:] = True  # the next round
                index = self._pick(scores, left)
            if index is not None:
                left[index] = False
            yield index

    def _pick(self, scores: NDArray[np.uint64], left: NDArray[np.bool_] | None = None) -> int | None:
        """Return the painting with the highest score, among those that are left; None if none can be used."""
        while True:
            allowed = self._usable if left is None else self._usable & left
            if not allowed.any():
                return None
            index = int(np.where(allowed, scores, 0).argmax())
            problem = self._problem(index)
            if not problem:
                self._name_successor(index)
                return index
            self._usable[index] = False
            self.skipped.append(Skipped(problem, None))

    def _name_successor(self, index: int) -> None:
        """Note which painting takes the place of those that have just been skipped."""
        for place in range(len(self.skipped) - 1, -1, -1):
            if self.skipped[place].successor is not None:
                break
            self.skipped[place] = replace(self.skipped[place], successor=index)

    def _problem(self, index: int) -> str:
        if index in self._known_good:
            return ""
        problem = self._problem_of(index)
        if not problem:
            self._known_good.add(index)
        return problem

    def _scores(self, unit: str) -> NDArray[np.uint64]:
        return _mixed(self._keys ^ np.uint64(_hash(f"{self._seed}/{unit}"))) | np.uint64(1)  # above what is not allowed


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest(), "big")


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of each value (the finalizer of SplitMix64: Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
