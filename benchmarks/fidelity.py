"""What goes in against what comes out, field by field, as a prober reads it that nstpipe does not use.

Eight videos and four pictures are made, each with something that is easily lost, and two samples are taken as they are.
They go through nstpipe's sources and sinks with the identity for an engine. For videos the fields are what the ffmpeg
program says when it opens a file, and the times of its frames; for pictures what exiftool says.

Run: python benchmarks/fidelity.py [--json fields.json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from nstpipe.config.models import Encode
from nstpipe.media.frame import working_size
from nstpipe.media.pictures.files import PictureSink, PictureSource
from nstpipe.media.video import ffmpeg
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.encode import video_sink
from nstpipe.media.video.probe import probe

Fields = dict[str, str]


@dataclass(frozen=True)
class Line:
    """One field of one file."""

    file: str
    field: str
    before: str
    after: str


def run(*arguments: str | Path) -> None:
    subprocess.run([ffmpeg.executable(), "-v", "error", "-y", *map(str, arguments)], check=True)


def sample(name: str) -> Callable[[Path], None]:
    """A maker that takes one of the project's own files as it is."""

    def copy(path: Path) -> None:
        shutil.copy(SAMPLES / name, path)

    return copy


SAMPLES = Path(__file__).parent.parent / "samples"
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=0.8")
TONE = ("-f", "lavfi", "-i", "sine=frequency=440:duration=0.8")
TAGGED = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
X264 = ("-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p")


def variable_rate(path: Path) -> None:
    uneven = ("-fps_mode", "passthrough", "-enc_time_base", "1/1000", "-video_track_timescale", "1000")
    run(*PICTURE, "-vf", f"settb=1/1000,setpts='N*40+N*N',{TAGGED}", *X264, *uneven, path)


def late_start(path: Path) -> None:
    run(*PICTURE, *TONE, "-vf", TAGGED, *X264, "-c:a", "aac", "-output_ts_offset", "1.4", path)


def turned(path: Path) -> None:
    made = path.with_name(f"made_{path.name}")
    run(*PICTURE, "-vf", TAGGED, *X264, made)
    run("-display_rotation", "90", "-i", made, "-c", "copy", path)


def anamorphic(path: Path) -> None:
    run(*PICTURE, "-vf", f"setsar=4/3,{TAGGED}", *X264, path)


def standard_definition(path: Path) -> None:
    colors = "setparams=range=tv:colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m"
    run(*PICTURE, "-vf", f"scale=out_color_matrix=smpte170m,format=yuv420p,{colors}", *X264, path)


def ten_bits(path: Path) -> None:
    run(*PICTURE, "-vf", f"format=yuv420p10le,{TAGGED}", "-c:v", "libx265", "-x265-params", "log-level=error", path)


def two_languages(path: Path) -> None:
    lines = path.with_suffix(".srt")
    lines.write_text("1\n00:00:00,100 --> 00:00:00,500\nGood evening\n")
    chapters = path.with_suffix(".txt")
    chapters.write_text(";FFMETADATA1\ntitle=A street\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=Corner\n")
    languages = ("-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=fra", "-metadata:s:s:0", "language=eng")
    maps = ("-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3", "-map_metadata", "4", "-map_chapters", "4")
    copied = ("-c:a", "aac", "-c:s", "subrip", "-disposition:a:0", "0", "-disposition:a:1", "default")
    run(*PICTURE, *TONE, *TONE, "-i", lines, "-i", chapters, *maps, "-vf", TAGGED, *X264, *copied, *languages, path)


def animated(path: Path) -> None:
    run(*PICTURE, "-vf", "fps=10", "-loop", "3", path)


VIDEOS: dict[str, tuple[Callable[[Path], None], Encode]] = {
    "variable_rate.mp4": (variable_rate, Encode()),
    "late_start.mkv": (late_start, Encode()),
    "turned.mp4": (turned, Encode()),
    "anamorphic.mp4": (anamorphic, Encode()),
    "bt601.mov": (standard_definition, Encode()),
    "ten_bits.mp4": (ten_bits, Encode(codec="libx265")),
    "two_languages.mkv": (two_languages, Encode()),
    "animation.gif": (animated, Encode()),
    "city_night.mp4": (sample("video/city_night.mp4"), Encode()),
}


def video_fields(path: Path) -> Fields:
    said = subprocess.run([ffmpeg.executable(), "-hide_banner", "-i", str(path)], capture_output=True, check=False)
    lines = [line.strip() for line in said.stderr.decode(errors="replace").splitlines()]
    picture = next(line for line in lines if ": Video: " in line)
    size = re.search(r"\d{2,}x\d{2,}(?: \[SAR [^\]]*\])?", picture)
    colors = re.search(r"(?:yuv|gbr|bgra|pal8)\w*(?:\([^)]*\))?", picture)
    others = [line for line in lines if re.match(r"Stream .*(Audio|Subtitle)", line)]
    title = "A street" if any("A street" in line for line in lines) else "no title"
    chapters = sum(line.startswith("Chapter #") for line in lines)
    return {
        "duration, start": next(line for line in lines if line.startswith("Duration")).split(", bitrate")[0],
        "size and shape": size[0] if size else "none",
        "pixels and colors": colors[0] if colors else "none",
        "turn": "; ".join(line for line in lines if "rotation" in line) or "none",
        "streams": "; ".join(re.sub(r"\[.*?\]|, \d+ kb/s", "", line) for line in others) or "none",
        "title, chapters": "none" if (title, chapters) == ("no title", 0) else f"{title}, {chapters}",
        "frames and times": times_of(path),
        "sound": sound_of(path) if any("Audio" in line for line in others) else "none",
    }


def times_of(path: Path) -> str:
    command = [ffmpeg.executable(), "-v", "error", "-copyts", "-i", str(path), "-map", "0:V:0", "-fps_mode", "passthrough"]
    command += ["-enc_time_base", "1/90000", "-f", "framecrc", "-"]
    said = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    ticks = [int(line.split(",")[2]) for line in said.splitlines() if not line.startswith("#")]
    digest = hashlib.sha256(repr(ticks).encode()).hexdigest()[:8]
    return f"{len(ticks)}, {ticks[0] / 90000:.3f} to {ticks[-1] / 90000:.3f} s, all times {digest}"


def sound_of(path: Path) -> str:
    """The end of a hash of each sound, of its packets as they are."""
    command = [ffmpeg.executable(), "-v", "error", "-i", str(path), "-map", "0:a", "-c", "copy", "-f", "streamhash", "-"]
    said = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return " ".join(line[-8:] for line in said.split())


def through_video(original: Path, result: Path, encode: Encode) -> None:
    info = probe(original)
    source = VideoSource(info)
    size = working_size(source.size, "native", even=True)
    count = source.frame_count
    with video_sink(result, info, size, encode, copy_audio=True, keep_metadata=True, frame_count=count) as sink:
        for frame in source.read(0, count):
            sink.write(frame.pixels, frame)
        sink.finish()


# Pictures.


def smooth() -> np.ndarray:
    rough = np.random.default_rng(0).integers(0, 65536, (4, 6, 3), dtype=np.uint16)
    return cv2.resize(rough, (96, 64), interpolation=cv2.INTER_LINEAR)


def exif() -> Image.Exif:
    block = Image.Exif()
    block[0x010F], block[0x0112] = "Streetview Inc", 6
    block.get_ifd(0x8769)[0x9003] = "2024:05:04 12:30:45"
    block.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.34), 3: "E", 4: (13.0, 24.0, 56.78), 16: "T", 17: 270.5})
    return block


def street(path: Path) -> None:
    rdf = 'rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    names = 'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
    said = f'<rdf:Description {names} GPano:FullPanoWidthPixels="96" tiff:Orientation="6"/>'
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><{rdf}>{said}</rdf:RDF></x:xmpmeta>'.encode()
    Image.fromarray((smooth() >> 8).astype(np.uint8)).save(path, exif=exif(), xmp=xmp, dpi=(300, 300), quality=95)


def see_through(path: Path) -> None:
    image = Image.fromarray((smooth() >> 8).astype(np.uint8))
    image.putalpha(128)
    image.save(path)


def deep(path: Path) -> None:
    cv2.imwrite(str(path), smooth())


PICTURES: dict[str, Callable[[Path], None]] = {
    "street.jpg": street,
    "see_through.png": see_through,
    "deep.png": deep,
    "deep.tif": deep,
    "street_08_360.jpg": sample("streetview/street_08_360.jpg"),
}


FIELDS: dict[str, tuple[str, ...]] = {
    "stored size": ("ImageWidth", "ImageHeight"),
    "bits, colors": ("BitDepth", "BitsPerSample", "ColorType", "PhotometricInterpretation", "ColorComponents"),
    "turn": ("EXIF:Orientation", "XMP:Orientation"),
    "place": ("GPSLatitudeRef", "GPSLatitude", "GPSLongitudeRef", "GPSLongitude"),
    "heading": ("GPSImgDirectionRef", "GPSImgDirection"),
    "maker, date": ("Make", "DateTimeOriginal"),
    "panorama": ("FullPanoWidthPixels",),
    "resolution": ("XResolution", "YResolution"),
    "profile": ("ProfileDescription",),
    "thumbnail": ("ThumbnailLength",),
}
"""Names of exiftool's tags, by what they say."""


def picture_fields(path: Path) -> Fields:
    program = shutil.which("exiftool")
    if program is None:
        raise SystemExit("This needs exiftool, a prober that nstpipe does not use: apt install libimage-exiftool-perl.")
    said = subprocess.run([program, "-json", "-n", "-G", str(path)], capture_output=True, check=True).stdout
    [tags] = json.loads(said)
    fields = {}
    for field, names in FIELDS.items():
        found = [str(value) for name in names for key, value in tags.items() if name in (key, key.split(":")[-1])]
        fields[field] = ", ".join(found) or "none"
    return fields


def through_picture(original: Path, result: Path) -> None:
    frame = next(PictureSource(original.parent, [original]).read(0, 1))
    PictureSink([result], keep_metadata=True).write(frame.pixels, frame)


def compared(file: str, before: Fields, after: Fields) -> list[Line]:
    names = [name for name in {**before, **after} if before.get(name, "none") != "none" or after.get(name, "none") != "none"]
    return [Line(file, name, before.get(name, "none"), after.get(name, "none")) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, (make, encode) in VIDEOS.items():
            original, result = folder / file, folder / f"result_{file}"
            make(original)
            through_video(original, result, encode)
            lines += compared(file, video_fields(original), video_fields(result))
        for file, make_picture in PICTURES.items():
            original, result = folder / file, folder / f"result_{file}"
            make_picture(original)
            through_picture(original, result)
            lines += compared(file, picture_fields(original), picture_fields(result))
    print("| file | field | in | out |\n| --- | --- | --- | --- |")
    for line in lines:
        print(f"| {line.file} | {line.field} | {line.before} | {'the same' if line.before == line.after else line.after} |")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n")


if __name__ == "__main__":
    main()
