"""Ranks a folder of images of people by their distance to the image of one person.

    python tflite/run.py MODEL.tflite QUERY.jpg FOLDER [--top 10] [--threads 1] [--metric cosine]

Images with smaller distances are more similar. The script also keeps a gallery file of known people, and finds these
people in images and videos:

    python tflite/run.py MODEL.tflite --gallery PEOPLE.npz --add FOLDER | --remove NAME | --check
    python tflite/run.py MODEL.tflite QUERY.jpg --gallery PEOPLE.npz [--top 10]
    python tflite/run.py MODEL.tflite --gallery PEOPLE.npz --video FRAMES --boxes BOXES.csv [--output SEEN.csv]
    python tflite/run.py MODEL.tflite --gallery PEOPLE.npz --video 0 [1 ...] --detector DETECTOR.onnx

With --cameras FILE.json, which `recipes/adapt.py` and `CameraNormalizer.save` write, the mean feature of the camera is
subtracted. --camera names the camera of the query, of the added images or of the video; --folder-camera names the
camera of FOLDER.

The script needs ai-edge-litert, NumPy and Pillow, but not TensorFlow. Detectors in ONNX files need onnxruntime too.
"""

import argparse
import io
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from accelerators import ACCELERATORS  # beside this file
from cameras import CameraMeans
from detector import OVERLAP, SCORE
from files import MOST_THREADS, execute, list_images, refuse_foreign, require_writable, whole
from network import SUFFIXES, Network, read, size_of, weights_of
from PIL import Image


def distances(query, gallery, metric):
    """Returns (G,) distances of gallery features (G, D) to a query feature (D,)."""
    if metric == "euclidean":
        return np.linalg.norm(gallery - query, axis=1)
    norms = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    return 1 - gallery @ query / np.maximum(norms, 1e-12)


def existing(path, kind="file"):
    """Returns the path. Raises an error if it does not exist."""
    if not (path.is_dir() if kind == "folder" else path.is_file()):
        raise FileNotFoundError(f"There is no {kind} {path}")
    return path


def owner(options):
    """Returns the path of --gallery, and the identity of the model that computes its features."""
    from gallery import sha256

    content, means = options.model.read_bytes(), options.means.content if options.means else b""
    weights = weights_of(content)
    if weights and means:  # camera means change the features
        weights = sha256(weights.encode() + means)
    return options.gallery, sha256(content + means), options.model.name, weights, size_of(content)


def network_of(options):
    return Network(options.model, options.threads, options.accelerator, options.means, options.camera)


def load_gallery(options):
    from gallery import Gallery

    return Gallery.load(*owner(options))


def rank(options):
    """Prints the images of a folder by their distance to the query."""
    query_path, folder = existing(options.query), existing(options.folder, "folder")
    files, others = list_images(folder, SUFFIXES)
    report_ignored(others)
    if not files:
        raise ValueError(f"{folder} must hold images ({', '.join(sorted(SUFFIXES))})")
    network = network_of(options)
    features, seconds = [], []
    for path in [query_path, *files]:
        image = network.prepare(read(path))
        began = time.perf_counter()
        features.append(network.run(image))
        seconds.append(time.perf_counter() - began)
        network.camera = options.folder_camera  # the query comes first
    near = distances(features[0], np.stack(features[1:]), options.metric)
    print(f"rank  distance  image (of {len(files)} in {folder})")
    for position, index in enumerate(np.argsort(near, kind="stable")[: options.top], start=1):
        print(f"{position:4d}  {near[index]:8.3f}  {files[index].name}")
    print(f"{1000 * np.median(seconds):.1f} ms per image in the network (median of {len(seconds)})")


def search(options):
    """Prints the people of the gallery who are most similar to the query."""
    gallery, network = load_gallery(options), network_of(options)
    found = gallery.search(network.run(network.prepare(read(existing(options.query)))), options.top)
    print(f"rank  cosine  name (of {len(gallery.people)} in {gallery.path})")
    for position, (name, cosine) in enumerate(found, start=1):
        print(f"{position:4d}  {cosine:6.3f}  {name}")


def add(options):
    """Adds all images of a folder to the gallery. Adds none if one of them fails."""
    from gallery import Gallery, named_images

    folder, _ = existing(options.add, "folder"), existing(options.gallery.parent, "folder")
    require_writable(options.gallery)
    if options.gallery.exists():
        load_gallery(options)  # refuses a gallery of another model before features are computed
    images, others = named_images(folder, SUFFIXES)
    report_ignored(others)
    if not images:
        raise ValueError(f"{folder} must hold images, or a folder of images for each person")
    network = network_of(options)
    features = np.stack([network.run(network.prepare(read(path))) for _, path in images])
    with Gallery.changing(*owner(options), new=True) as gallery:
        added = gallery.append([name for name, _ in images], features)
    print(f"{added} added, {len(images) - added} were there already. {gallery}")


def remove(options):
    """Removes a person from the gallery."""
    from gallery import Gallery

    with Gallery.changing(*owner(options)) as gallery:
        removed = gallery.remove(options.remove)
    print(f"{removed} removed. {gallery}")


def check(options):
    """Checks the whole gallery, and prints the people in it."""
    gallery = load_gallery(options)
    print("features  name")
    for name, count in zip(*np.unique(gallery.names, return_counts=True), strict=True):
        print(f"{count:8d}  {name}")
    same = "" if gallery.network in ("", options.model.name) else f" (same weights as {options.model.name})"
    print(f"Complete. Features of {gallery.network or options.model.name}{same}. {gallery}")
    for what, of_tracks in (("an image", False), ("a track", True)):
        threshold, origin = threshold_of(gallery, of_tracks)
        print(f"Threshold of {what} {threshold:.3f}: {origin}")


def threshold_of(gallery, of_tracks):
    """Returns the smallest cosine of an image, or of a track, of a known person, and where it comes from."""
    from thresholds import DEFAULT, DEFAULT_OF_TRACKS, FEWEST, proposed, proposed_for_tracks

    found = (proposed_for_tracks if of_tracks else proposed)(gallery)
    if found is None:
        default = DEFAULT_OF_TRACKS if of_tracks else DEFAULT
        return default, f"from {FEWEST} people on, it is proposed from their images"
    return found, f"proposed from the images of {len(gallery.people)} people"


def follow(options):
    """Prints the identities of the boxes of videos, or writes them as CSV."""
    from following import follow as write
    from video import HEADING

    if options.output:
        refuse_foreign(options.output, HEADING.encode())
    gallery = load_gallery(options)
    threshold, origin = options.threshold, "given"
    if threshold == "auto":
        threshold, origin = threshold_of(gallery, of_tracks=True)
    print(f"Threshold of a track {threshold:.3f}: {origin}", file=sys.stderr)
    if len(set(options.video)) < len(options.video):
        raise ValueError(f"--video must name each video once. Received: {', '.join(options.video)}")
    if options.camera and len(options.video) > 1:
        raise ValueError(f"--camera must be that of one video. Received: {len(options.video)} videos")
    videos = {text: frames_of(text) for text in options.video}
    write(options, videos, gallery, network_of(options), threshold)


def frames_of(text):
    """The frames of a folder, a video file or the number of a camera."""
    from frames import FrameImages, VideoFrames

    source = Path(text)
    if source.is_dir():
        frames = FrameImages(source, SUFFIXES, read)
        report_ignored(frames.others)
        return frames
    return VideoFrames(int(text) if text.isdecimal() and not source.exists() else existing(source))


def report_ignored(others):
    """Prints the number of files and folders that are not images, and the first names."""
    if others:
        names = ", ".join(map(str, others[:3])) + ", ..." * (len(others) > 3)
        print(f"{len(others)} files or folders that are not images are ignored: {names}", file=sys.stderr)


COMMON_ARGUMENTS = {"model", "threads", "accelerator", "cameras"}
FOLLOWING = {"threshold": "auto", "least_boxes": 1, "output": None, "outside": "skip", "camera": None}
DETECTING = {"person_class": None, "detector_score": SCORE, "detector_overlap": OVERLAP, "detector_as": ()}
FORMS = [  # required arguments besides the model, optional arguments with their defaults, function
    (("QUERY", "FOLDER"), {"top": 10, "metric": "euclidean", "camera": None, "folder_camera": None}, rank),
    (("QUERY", "--gallery"), {"top": 10, "camera": None}, search),
    (("--gallery", "--add"), {"camera": None}, add),
    (("--gallery", "--remove"), {}, remove),
    (("--gallery", "--check"), {}, check),
    (("--gallery", "--video", "--boxes"), FOLLOWING, follow),
    (("--gallery", "--video", "--detector"), {**FOLLOWING, **DETECTING}, follow),
]


def fraction(text):
    """Argument type: a number from 0 to 1."""
    if not 0 <= float(text) <= 1:  # also refuses NaN
        raise argparse.ArgumentTypeError(f"must be 0 .. 1. Received: {text}")
    return float(text)


def cosine(text):
    """Argument type: a number from -1 to 1, or "auto"."""
    if text == "auto":
        return text
    if not -1 <= float(text) <= 1:  # also refuses NaN
        raise argparse.ArgumentTypeError(f"must be -1 .. 1. Received: {text}")
    return float(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help=".tflite file, with or without --pipeline")
    parser.add_argument("query", type=Path, nargs="?", help="image of the person to find")
    parser.add_argument("folder", type=Path, nargs="?", help="folder of images to rank")
    parser.add_argument("--top", type=whole(10**6), help="rows to print (default 10)")
    parser.add_argument("--threads", type=whole(MOST_THREADS), default=1, help="threads of the network (default 1)")
    parser.add_argument("--accelerator", choices=ACCELERATORS, default="cpu", help="runs the network (default cpu)")
    parser.add_argument("--metric", choices=["euclidean", "cosine"], help="distance from QUERY (default euclidean)")
    parser.add_argument("--gallery", type=Path, metavar="FILE.npz", help="file of known people")
    parser.add_argument("--add", type=Path, metavar="FOLDER", help="holds a folder of images, or NAME.jpg, per person")
    parser.add_argument("--remove", metavar="NAME", help="person to remove")
    parser.add_argument("--check", action="store_true", default=None, help="check the gallery, and list its people")
    parser.add_argument(
        "--video", nargs="+", metavar="SOURCE", help="folder of frames; video file or camera number (OpenCV)"
    )
    parser.add_argument(
        "--boxes", type=Path, metavar="FILE.csv", help="frame,left,top,right,bottom[,track], or MOTChallenge"
    )
    parser.add_argument(
        "--detector", type=Path, metavar="FILE", help="finds people, in place of --boxes: .onnx, .tflite"
    )
    parser.add_argument("--person-class", type=int, metavar="N", help="class of people (default: the file's or form's)")
    parser.add_argument("--detector-score", type=fraction, help=f"least score of a person (default {SCORE:g})")
    parser.add_argument("--detector-overlap", type=fraction, help=f"most overlap of two people (default {OVERLAP:g})")
    parser.add_argument("--detector-as", nargs="+", metavar="WORD", help="how the detector is read (README)")
    parser.add_argument(
        "--outside", choices=["skip", "refuse"], help="boxes without a pixel in the frame (default skip)"
    )
    parser.add_argument(
        "--threshold", type=cosine, help="smallest cosine of a known track (default auto: proposed from the gallery)"
    )
    parser.add_argument("--least-boxes", type=whole(10**6), metavar="N", help="boxes of a named track (default 1)")
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="write the rows to this file")
    parser.add_argument("--cameras", type=Path, metavar="FILE.json", help="mean features of cameras, to subtract")
    parser.add_argument("--camera", metavar="NAME", help="camera of the images or the video (default unknown)")
    parser.add_argument("--folder-camera", metavar="NAME", help="camera of FOLDER (default unknown)")
    options = parser.parse_intermixed_args()
    if (options.camera or options.folder_camera) and not options.cameras:
        parser.error("--camera and --folder-camera need --cameras")
    given = {name for name, value in vars(options).items() if value is not None} - COMMON_ARGUMENTS
    for words, defaults, command in FORMS:
        needed = {word.strip("-").lower() for word in words}
        if needed <= given <= needed | set(defaults):
            missing = {name: value for name, value in defaults.items() if name not in given}
            return argparse.Namespace(**{**vars(options), **missing}, command=command)
    forms = ", or ".join(" ".join(words) for words, _, _ in FORMS)
    parser.error(f"besides MODEL, give {forms}. Received: {', '.join(sorted(given)) or 'nothing'}")


def main():
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: names of files need not be UTF-8
    options = arguments()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such images are refused
    existing(options.model)
    options.means = CameraMeans(existing(options.cameras)) if options.cameras else None
    for name in dict.fromkeys(filter(None, (options.camera, options.folder_camera))):
        if not options.means.has(name):
            print(f"{options.cameras} has no camera {name}: the mean of all its cameras is taken", file=sys.stderr)
    options.command(options)


if __name__ == "__main__":
    execute(main)
