"""Videos and folders of frames: how their frames are numbered, what is refused, and the videos that are written."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.scripts import load

FOOTAGE, RESULTS, SIGHTINGS = (load(f"recipes/{name}.py") for name in ("footage", "camera_results", "sightings"))
with FOOTAGE.device_scripts():
    import frames as DEVICE


def folder_of(path, count, size=(64, 48)):
    """Frames of noise, which are large in every video."""
    path.mkdir()
    for number in range(1, count + 1):
        noise = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), "uint8")
        Image.fromarray(noise).save(path / f"{number:06d}.png")
    return path


def same_of_both(recipe, device):
    """Numbers of the frames, by recipes/cameras.py and tflite/run.py, which must show the same images."""
    numbers, _, images = zip(*recipe, strict=True)
    others, frames = zip(*device.frames(None), strict=True)
    assert numbers == others
    np.testing.assert_array_equal(images, list(map(np.asarray, frames)))
    return list(numbers)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["f8", "f9", "f10"], [8, 9, 10]),
        (["img000000", "img000001", "img000003"], [1, 2, 4]),  # a frame is dropped
        (["cam7_000001", "cam7_000002", "cam7_000005"], [1, 2, 5]),
        (["first", "second"], [1, 2]),
        (["first", "second2"], [1, 2]),
        (["9 at 1080p", "10 at 1080p"], [1, 2]),
        (["0 at 1080p", "1 at 720p", "2 at 1080p"], [1, 2, 3]),
    ],
)
def test_frames_of_a_folder_have_one_number_in_all_commands(tmp_path, names, expected):
    for value, name in enumerate(names):
        Image.new("RGB", (8, 6), (20 * value, 0, 0)).save(tmp_path / f"{name}.png")
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails/1.png").write_bytes((tmp_path / f"{names[0]}.png").read_bytes())
    device = DEVICE.FrameImages(tmp_path, {".png"}, Image.open)
    assert same_of_both(FOOTAGE.Frames(tmp_path, fps=10), device) == expected
    assert [number for number, _ in device.frames({expected[-1]: []})] == expected[-1:]


def test_frames_of_a_video_have_one_number_in_all_commands(tmp_path):
    pytest.importorskip("cv2", reason="needs OpenCV")
    write(tmp_path / "door.mp4", folder_of(tmp_path / "door", 4))
    video = tmp_path / "door.mp4"
    assert same_of_both(FOOTAGE.Frames(video), DEVICE.VideoFrames(video)) == [1, 2, 3, 4]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_the_name_of_a_video_in_the_current_folder_may_be_a_time(tmp_path, monkeypatch):
    pytest.importorskip("cv2", reason="needs OpenCV")
    write(tmp_path / "door.mp4", folder_of(tmp_path / "door", 3))
    os.replace(tmp_path / "door.mp4", tmp_path / "2024-01-31T10:20:30.mp4")
    monkeypatch.chdir(tmp_path)
    video = Path("2024-01-31T10:20:30.mp4")
    assert same_of_both(FOOTAGE.Frames(video), DEVICE.VideoFrames(video)) == [1, 2, 3]


# Three frames of 32 x 32, which x264 wrote without a container.
RAW = (
    "000000016764000aac4c224b42000003000200000300281e244c230000000168e8430392c8b00000000165888206fffeb5df32c544d82f2c9f"
    "c1000000014188841bfffeb5df32ae9d82f2c9fc000000014188881bfffeb5df32b6d820bcb27f"
)


def test_a_raw_video_without_times_needs_the_rate_of_its_frames(tmp_path):
    pytest.importorskip("cv2", reason="needs OpenCV")
    (tmp_path / "door.h264").write_bytes(bytes.fromhex(RAW))
    with pytest.raises(
        ValueError, match=r"`fps` must be given for videos without times, as raw H.264. Received: .*door"
    ):
        FOOTAGE.Frames(tmp_path / "door.h264")
    frames = FOOTAGE.Frames(tmp_path / "door.h264", start=5.0, fps=2)
    assert [(number, seconds) for number, seconds, _ in frames] == [(1, 5.0), (2, 5.5), (3, 6.0)]


def element(name, *parts):
    """An element of EBML, of which WebM files are made."""
    content = b"".join(parts)
    return bytes.fromhex(name) + (2**56 + len(content)).to_bytes(8, "big") + content


def webm(milliseconds):
    """A WebM file of one 16 x 16 image at these times, as browsers record them: without a number of frames a second."""
    image = bytes.fromhex("1002009d012a1000100000470885858885848801a21000606f70fefb6640")  # VP8
    size = element("e0", element("b0", b"\x10"), element("ba", b"\x10"))
    track = element("d7", b"\1"), element("73c5", b"\1"), element("83", b"\1"), element("86", b"V_VP8"), size
    blocks = [element("a3", b"\x81", time.to_bytes(2, "big"), b"\x80", image) for time in milliseconds]
    tracks, cluster = element("1654ae6b", element("ae", *track)), element("1f43b675", element("e7", b"\0"), *blocks)
    return element("1a45dfa3", element("4282", b"webm")) + element("18538067", element("1549a966"), tracks, cluster)


def test_frames_at_uneven_times_are_counted_in_a_second(tmp_path):
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    times = [sum((7, 13, 31, 66, 101)[i % 5] + i % 7 for i in range(n)) for n in range(60)]
    (tmp_path / "door.webm").write_bytes(webm(times))
    frames = FOOTAGE.Frames(tmp_path / "door.webm")
    assert [round(1000 * seconds) for _, seconds, _ in frames] == times
    assert frames.rate == pytest.approx(1000 * 59 / times[-1])
    assert cv2.VideoCapture(str(tmp_path / "door.webm")).get(cv2.CAP_PROP_FPS) > 2 * frames.rate  # what the file says


def write(path, folder, fps=10.0):
    RESULTS.write_video(path, FOOTAGE.Frames(folder, fps=fps), SIGHTINGS.Sightings("door"), {})


@pytest.fixture
def bad(tmp_path):
    """What is no video, or no folder of frames."""
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "none").mkdir()
    (tmp_path / "nested").mkdir()
    folder_of(tmp_path / "nested/img1", 1)
    return tmp_path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.mp4", "text.mp4, which OpenCV cannot read"),
        ("empty.mp4", "empty.mp4, which OpenCV cannot read"),
        ("pipe.mp4", "pipe.mp4, which is neither"),
        ("absent.mp4", "absent.mp4, which does not exist"),
        ("none", "none, which has no images"),
        ("nested", "nested, which has no images: .*000001.png .in a nested folder."),
    ],
)
def test_what_shows_no_frames_is_refused_in_one_line_before_the_work(bad, capfd, name, message):
    pytest.importorskip("cv2", reason="needs OpenCV")
    with pytest.raises(ValueError, match=f"`videos` must be videos, or folders of images. Received: .*{message}"):
        FOOTAGE.Frames(next(iter(FOOTAGE.sources([str(bad / name)]).values())), fps=10)
    assert capfd.readouterr() == ("", "")


def test_the_current_folder_of_frames_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "door.1" / "night").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "door.1" / "night")
    assert {name: str(path) for name, path in FOOTAGE.sources([".", ".."]).items()} == {"night": ".", "door.1": ".."}


def test_a_video_in_a_folder_whose_name_would_crash_opencv_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "door.mp4").touch()
    monkeypatch.chdir(folder)
    for path in (folder / "door.mp4", "door.mp4"):
        with pytest.raises(ValueError, match=r"File names must be UTF-8\. Received: 1 others: b'.*caf\\xe9/door\.mp4'"):
            FOOTAGE.sources([f"door={path}"])


def test_a_video_that_is_cut_short_is_named_with_a_warning_once(tmp_path, capsys):
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    video = cv2.VideoWriter(str(tmp_path / "door.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(20):
        video.write(np.random.default_rng(number).integers(0, 256, (48, 64, 3), "uint8"))
    video.release()
    content = (tmp_path / "door.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    for name in ("door", "cut"):
        frames = FOOTAGE.Frames(tmp_path / f"{name}.avi"), DEVICE.VideoFrames(tmp_path / f"{name}.avi")
        numbers = same_of_both(*frames)
    warned = capsys.readouterr().err
    message = r"warning: .*cut\.avi may be cut short: it ends after (\d+) frames, at [\d.]+ s of 2.0 s\n"
    assert int(re.fullmatch(message, warned)[1]) == numbers[-1] < 18


def test_a_video_that_opencv_cannot_write_is_named_and_the_last_one_is_kept(tmp_path):
    pytest.importorskip("cv2", reason="needs OpenCV")
    output = tmp_path / "out"
    output.mkdir()
    (output / "door.mp4").write_bytes(b"the last one")
    with pytest.raises(OSError, match=r"door\.mp4 cannot be written by OpenCV: 64 x 48 pixels, 1e\+06 frames/s"):
        write(output / "door.mp4", folder_of(tmp_path / "door", 2), fps=1e6)  # more than MPEG-4 can have
    assert [path.read_bytes() for path in output.iterdir()] == [b"the last one"]


def test_a_video_on_a_full_disk_is_an_error_and_leaves_no_file(tmp_path):
    pytest.importorskip("cv2", reason="needs OpenCV")
    resource = pytest.importorskip("resource", reason="needs POSIX")
    folder, output = folder_of(tmp_path / "door", 9, (320, 240)), tmp_path / "out"
    output.mkdir()
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"door\.mp4 cannot be written: OpenCV wrote \d of 9 frames"):
            write(output / "door.mp4", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(output.iterdir())


def test_frames_of_other_sizes_are_in_the_video_that_is_written(tmp_path):
    pytest.importorskip("cv2", reason="needs OpenCV")
    (tmp_path / "door").mkdir()
    for number, (size, colour) in enumerate([((64, 48), "red"), ((96, 32), "lime"), ((32, 80), "blue")], 1):
        Image.new("RGB", size, colour).save(tmp_path / "door" / f"{number}.png")
    write(tmp_path / "out.mp4", tmp_path / "door")
    images = [image for _, _, image in FOOTAGE.Frames(tmp_path / "out.mp4")]
    assert [image.shape for image in images] == [(48, 64, 3)] * 3
    assert [int(image.mean(axis=(0, 1)).argmax()) for image in images] == [0, 1, 2]
