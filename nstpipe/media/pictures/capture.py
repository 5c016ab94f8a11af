"""Where and when a picture was taken, as its EXIF says."""

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
    """Of one picture; None where it does not say.

    Attributes:
        time: of the camera's clock, without a zone.
        latitude: degrees, north is positive.
        longitude: degrees, east is positive.
    """

    time: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None

    def seconds_to(self, other: Capture) -> float | None:
        """How long before or after the other it was taken."""
        return None if self.time is None or other.time is None else abs((other.time - self.time).total_seconds())

    def meters_to(self, other: Capture) -> float | None:
        """How far from the other it was taken, on the great circle."""
        if None in (self.latitude, self.longitude, other.latitude, other.longitude):
            return None
        here, there = math.radians(self.latitude or 0), math.radians(other.latitude or 0)
        east = math.radians((other.longitude or 0) - (self.longitude or 0))
        half = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * math.sin(east / 2) ** 2
        return 2 * EARTH_RADIUS_METERS * math.asin(min(1.0, math.sqrt(half)))


def capture_of(path: Path) -> Capture:
    """What a picture says of its taking; nothing where it cannot be read."""
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
    """Degrees, minutes and seconds as degrees."""
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value):
        return None
    return -value if str(reference).strip("\0 ").upper() == negative else value
