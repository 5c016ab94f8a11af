"""What is wrong with a video is said in words, before any work is lost."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from nstpipe.config.models import Encode
from nstpipe.errors import ItemError
from nstpipe.media.video.containers import VIDEO_CODECS_BY_SUFFIX
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.encode import VideoSink
from nstpipe.media.video.ffmpeg import encoders
from nstpipe.media.video.info import VideoColor, VideoInfo
from nstpipe.media.video.probe import probe
from nstpipe.media.video.trial import try_encode

from .making import FFV1_RGB, X264, blocks, films, make_video, run_ffmpeg, sine

FRAMES = 20


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def text(folder: Path) -> Path:
    path = folder / "text.mp4"
    path.write_text("This is a letter, not a video.\n" * 20)
    return path


def empty(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def a_folder(folder: Path) -> Path:
    path = folder / "folder.mp4"
    path.mkdir()
    return path


def sound_only(folder: Path) -> Path:
    path = folder / "sound.mp4"
    run_ffmpeg(*sine(0.2), "-c:a", "aac", path)
    return path


def sound_with_cover(folder: Path) -> Path:
    cover, path = folder / "cover.jpg", folder / "song.mp3"
    Image.fromarray(blocks()).save(cover)
    run_ffmpeg(*sine(0.2), "-i", cover, "-map", "0", "-map", "1", "-disposition:v", "attached_pic", "-c:v", "copy", path)
    return path


def whole(folder: Path, *options: str) -> Path:
    return make_video(folder / "whole.mp4", films(FRAMES), *X264, *options)


def cut(folder: Path, bytes_left: Callable[[int], int], *options: str) -> Path:
    content = whole(folder, *options).read_bytes()
    path = folder / "cut.mp4"
    path.write_bytes(content[: bytes_left(len(content))])
    return path


def first_bytes_only(folder: Path) -> Path:
    return cut(folder, lambda size: 48, "-movflags", "+faststart")


def cut_without_index(folder: Path) -> Path:
    return cut(folder, lambda size: size // 2)


def bare_h264(folder: Path) -> Path:
    return make_video(folder / "bare.h264", films(FRAMES), *X264)


def bare_h265(folder: Path) -> Path:
    return make_video(folder / "bare.h265", films(FRAMES), "-c:v", "libx265", "-x265-params", "log-level=none")


WRONG: dict[Callable[[Path], Path], str] = {
    missing: "does not exist",
    text: "is not a readable video",
    empty: "is empty",
    a_folder: "is a folder",
    sound_only: "has no video stream",
    sound_with_cover: "has no video stream",
    first_bytes_only: "has no video stream",
    cut_without_index: "is not a readable video",
    bare_h264: "has no frame times: it is raw H.264 video",
    bare_h265: "has no frame times: it is raw HEVC video",
}


@pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__)
def test_the_error_names_the_file_and_the_reason(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    with pytest.raises(ItemError) as caught:
        probe(path)
    assert str(path) in caught.value.problem
    assert WRONG[make] in caught.value.problem
    assert "file:" not in str(caught.value)
    assert "Errno" not in str(caught.value)


def test_an_avi_with_empty_moments_is_whole(tmp_path: Path) -> None:
    gap = "setpts='(N+if(gte(N,3),4,0))/25/TB'"
    path = make_video(tmp_path / "gap.avi", films(6), "-c:v", "mpeg4", "-fps_mode", "vfr", video_filter=gap)
    frames = list(VideoSource(probe(path)).read(0, 6))
    assert [frame.time for frame in frames] == [Fraction(moment, 25) for moment in (0, 1, 2, 7, 8, 9)]


def test_tags_in_the_encoding_of_their_day(tmp_path: Path) -> None:
    """Before UTF-8, a title was written in whatever its writer's machine had."""
    path = make_video(tmp_path / "old.avi", films(3), "-c:v", "mpeg4", "-metadata", "title=Cafe Xterrace")
    path.write_bytes(path.read_bytes().replace(b"Cafe X", b"Caf\xe9 \xf9"))
    info = probe(path)
    assert len(list(VideoSource(info).read(0, len(info.ticks)))) == 3


def test_a_cover_picture_beside_the_video_is_passed_over(tmp_path: Path) -> None:
    cover, made, path = tmp_path / "cover.jpg", whole(tmp_path), tmp_path / "covered.mp4"
    Image.fromarray(blocks(width=16, height=16)).save(cover)
    for order in ((made, cover), (cover, made)):
        place = order.index(cover)
        inputs = [argument for file in order for argument in ("-i", file)]
        cover_is_one = (f"-disposition:v:{place}", "attached_pic")
        run_ffmpeg(*inputs, "-map", "0", "-map", "1", "-c", "copy", *cover_is_one, path)
        info = probe(path)
        assert (info.width, info.height, len(info.ticks)) == (64, 48, FRAMES)
        assert len(list(VideoSource(info).read(0, FRAMES))) == FRAMES


def test_a_video_that_shrinks_after_the_probe_is_an_item_error(tmp_path: Path) -> None:
    path = whole(tmp_path, "-movflags", "+faststart", "-g", "1")
    info = probe(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    frames = []
    with pytest.raises(ItemError, match=r"whole\.mp4") as caught:
        for frame in VideoSource(info).read(0, FRAMES):
            frames.append(frame)  # noqa: PERF402 - the frames before the error count
    assert 0 < len(frames) < FRAMES
    assert f"{len(frames)} of {FRAMES} frames" in caught.value.problem


HARD_NAMES = [
    "new\nline.mp4",
    "with spaces.mp4",
    'it\'s "quoted".mp4',
    "100% %03d %s.mp4",
    "-i.mp4",
    "-dash first.mp4",
    "a:b,c;d=e[f].mp4",
    "http:host.mp4",
    "straße 街 📷.mp4",
    "back\\slash.mp4",
    "UPPER.MP4",
]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_any_name_works_from_end_to_end(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_video(tmp_path / "made.mp4", films(2), *X264, "-c:a", "aac", inputs=sine(0.1))
    (tmp_path / "in").mkdir()
    made.rename(tmp_path / "in" / name)
    # Relative, so that a leading dash is the first character that ffmpeg could see.
    monkeypatch.chdir(tmp_path / "in")
    info = probe(Path(name))
    result = Path("..", "out", name)
    with VideoSink(result, info, (64, 48), Encode(), copy_audio=True, keep_metadata=True, frame_count=2) as sink:
        for frame in VideoSource(info).read(0, 2):
            sink.write(frame.pixels, frame)
        sink.finish()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert len(probe(result).ticks) == 2


class Listening(threading.Thread):
    """A server that hangs up at once, and counts who called."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.calls = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])

    def run(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            self.calls += 1
            caller.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.join()


@pytest.fixture
def listening() -> Iterator[Listening]:
    server = Listening()
    server.start()
    yield server
    server.close()


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{address}'\n",
    "list.mkv": "ffconcat version 1.0\nfile '{address}'\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_crafted_playlist_reaches_no_network(tmp_path: Path, name: str, listening: Listening) -> None:
    path = tmp_path / name
    path.write_text(PLAYLISTS[name].format(address=f"http://127.0.0.1:{listening.port}/part.ts"))
    with pytest.raises(ItemError, match=name):
        probe(path)
    with pytest.raises(ItemError, match=name):
        list(VideoSource(info_of(path)).read(0, 1))
    assert listening.calls == 0


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_that_names_another_file_is_refused(tmp_path: Path, name: str) -> None:
    make_video(tmp_path / "part.ts", films(FRAMES), *X264)
    path = tmp_path / name
    path.write_text(PLAYLISTS[name].format(address="part.ts"))
    with pytest.raises(ItemError, match=name) as caught:
        probe(path)
    assert "is a playlist" in caught.value.problem


def test_a_call_would_have_been_counted(listening: Listening) -> None:
    """What the test above rests on."""
    with socket.create_connection(("127.0.0.1", listening.port)) as caller:
        assert caller.recv(1) == b""
    assert listening.calls == 1


def info_of(path: Path) -> VideoInfo:
    return VideoInfo(
        path=path,
        width=64,
        height=48,
        time_base=Fraction(1, 25),
        ticks=(0,),
        average_rate=Fraction(25),
        color=VideoColor("bt709", True, False, None, None),
    )


# The trial.


def with_sound(folder: Path, codec: str) -> VideoInfo:
    return probe(make_video(folder / "original.mkv", films(4, 64, 64), *X264, "-c:a", codec, inputs=sine(0.2)))


def tried(folder: Path, suffix: str, info: VideoInfo, encode: Encode, **options: bool) -> None:
    settings = {"copy_audio": True, "keep_metadata": True, **options}
    try_encode(folder, suffix, info, (64, 64), encode, **settings)


@pytest.mark.parametrize(("suffix", "codec"), [(suffix, codecs[-1]) for suffix, codecs in VIDEO_CODECS_BY_SUFFIX.items()])
def test_a_good_combination_passes_and_leaves_no_file(tmp_path: Path, suffix: str, codec: str) -> None:
    if {"prores": "prores_ks"}.get(codec, codec) not in encoders():
        pytest.skip(f"this ffmpeg has no {codec}")
    info = with_sound(tmp_path, "libopus" if suffix == ".webm" else "aac")
    tried(tmp_path / "work", suffix, info, Encode(codec=codec))
    assert not list((tmp_path / "work").rglob("*"))


@pytest.mark.parametrize(("suffix", "sound"), [(".webm", "pcm_s16le"), (".webm", "aac"), (".mp4", "pcm_u8")])
def test_sound_that_the_container_cannot_take(tmp_path: Path, suffix: str, sound: str) -> None:
    info = with_sound(tmp_path, sound)
    encode = Encode(codec=VIDEO_CODECS_BY_SUFFIX[suffix][-1])
    with pytest.raises(ItemError) as caught:
        tried(tmp_path / "work", suffix, info, encode)
    assert str(info.path) in caught.value.problem
    assert suffix in caught.value.problem
    assert "audio: none" in caught.value.next_step
    assert not list((tmp_path / "work").rglob("*"))
    tried(tmp_path / "work", suffix, info, encode, copy_audio=False)


def test_an_encoder_that_this_ffmpeg_lacks(tmp_path: Path) -> None:
    info = with_sound(tmp_path, "aac")
    absent = Encode.model_construct(codec="libnosuch", crf=None, preset=None, pix_fmt=None)
    with pytest.raises(ItemError, match="libnosuch"):
        tried(tmp_path / "work", ".mkv", info, absent)
    assert not list((tmp_path / "work").rglob("*"))


@pytest.mark.parametrize(
    ("encode", "said"),
    [(Encode(preset="nosuchpreset"), "nosuchpreset"), (Encode(pix_fmt="nosuchformat"), "nosuchformat")],
    ids=["preset", "pixel format"],
)
def test_a_setting_that_the_encoder_refuses(tmp_path: Path, encode: Encode, said: str) -> None:
    with pytest.raises(ItemError, match=said):
        tried(tmp_path / "work", ".mp4", with_sound(tmp_path, "aac"), encode)


def test_a_video_of_one_frame_can_be_tried(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "original.mkv", films(1, 64, 64), *FFV1_RGB))
    tried(tmp_path / "work", ".mp4", info, Encode())


def test_a_late_start_can_be_tried(tmp_path: Path) -> None:
    info = with_sound(tmp_path, "aac")
    late = dataclasses.replace(info, ticks=tuple(tick + 90_000 for tick in info.ticks))
    tried(tmp_path / "work", ".mp4", late, Encode())
