"""Reads where and when a picture was taken from its EXIF."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import ExifTags

from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened

EARTH_RADIUS_METERS = 6_371_000.0


@dataclass(frozen=True)
class Capture:
    """Where and when a picture was taken. A value that the picture does not have is None.

    Attributes:
        time: By the camera's clock, without a time zone.
        latitude: In degrees; north is positive.
        longitude: In degrees; east is positive.
    """

    time: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None

    def seconds_to(self, other: Capture) -> float | None:
        """The seconds between the two pictures; None if a time is missing."""
        return None if self.time is None or other.time is None else abs((other.time - self.time).total_seconds())

    def meters_to(self, other: Capture) -> float | None:
        """The distance between the two pictures on the great circle, in meters; None if a place is missing."""
        if None in (self.latitude, self.longitude, other.latitude, other.longitude):
            return None
        here, there = math.radians(self.latitude or 0), math.radians(other.latitude or 0)
        east = math.radians((other.longitude or 0) - (self.longitude or 0))
        half = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * math.sin(east / 2) ** 2
        return 2 * EARTH_RADIUS_METERS * math.asin(min(1.0, math.sqrt(half)))


def capture_of(path: Path) -> Capture:
    """Where and when a picture was taken. Every value is None if the picture cannot be read."""
    try:
        with opened(path) as image:
            exif = image.getexif()
            taken, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    except PILLOW_ERRORS:
        return Capture()
    latitude = _degrees(place.get(ExifTags.GPS.GPSLatitude), place.get(ExifTags.GPS.GPSLatitudeRef), "S")
    longitude = _degrees(place.get(ExifTags.GPS.GPSLongitude), place.get(ExifTags.GPS.GPSLongitudeRef), "W")
    return Capture(_time(taken), latitude, longitude)


def _time(taken: dict[int, Any]) -> datetime | None:
    try:
        time = datetime.strptime(str(taken.get(ExifTags.Base.DateTimeOriginal)).strip("\0 "), "%Y:%m:%d %H:%M:%S")
        fraction = str(taken.get(ExifTags.Base.SubsecTimeOriginal, "")).strip("\0 ")
        return time + timedelta(seconds=float(f"0.{fraction}")) if fraction.isdecimal() else time
    except ValueError:
        return None


def _degrees(parts: Any, reference: Any, negative: str) -> float | None:
    """Degrees out of degrees, minutes and seconds; None if they are not numbers."""
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value):
        return None
    return -value if str(reference).strip("\0 ").upper() == negative else value
