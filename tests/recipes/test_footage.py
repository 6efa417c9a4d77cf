"""Videos and folders of frames: how their frames are numbered, what is refused, and the videos that are written."""

import signal

import numpy as np
import pytest
from PIL import Image

from tests.scripts import load

FOOTAGE, RESULTS, SIGHTINGS = (load(f"recipes/{name}.py") for name in ("footage", "camera_results", "sightings"))
DEVICE = load("tflite/frames.py")


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


def write(path, folder, fps=10.0):
    RESULTS.write_video(path, FOOTAGE.Frames(folder, fps=fps), SIGHTINGS.Sightings("door"), {})


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
