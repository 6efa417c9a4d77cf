"""Ranks a folder of images of people by their distance to the image of one person.

    python tflite/run.py MODEL.tflite QUERY.jpg FOLDER [--top 10] [--threads 1] [--metric cosine]

Smaller distances are better. It also keeps a file of known people, and finds them in images and videos:

    python tflite/run.py MODEL.tflite --gallery PEOPLE.npz --add FOLDER | --remove NAME | --check
    python tflite/run.py MODEL.tflite QUERY.jpg --gallery PEOPLE.npz [--top 10]
    python tflite/run.py MODEL.tflite --gallery PEOPLE.npz --video FRAMES --boxes BOXES.csv [--output SEEN.csv]

With --cameras FILE.json, which `recipes/adapt.py` and `CameraNormalizer.save` write, the mean feature of the camera is
removed: --camera names the camera of the query, of the added images or of the video, --folder-camera that of FOLDER.

It needs ai-edge-litert, NumPy and Pillow, and no TensorFlow.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from accelerators import ACCELERATORS  # beside this file
from cameras import CameraMeans
from files import MOST_THREADS, list_images, refuse_foreign, replacing, whole
from network import SUFFIXES, Network, read, weights_of
from PIL import Image


def distances(query, gallery, metric):
    """(G,) distances of gallery features (G, D) to a query feature (D,)."""
    if metric == "euclidean":
        return np.linalg.norm(gallery - query, axis=1)
    norms = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    return 1 - gallery @ query / np.maximum(norms, 1e-12)


def existing(path, kind="file"):
    """The path, if it exists."""
    if not (path.is_dir() if kind == "folder" else path.is_file()):
        raise FileNotFoundError(f"There is no {kind} {path}")
    return path


def owner(options):
    """Path of --gallery, and what identifies the model that its features are from."""
    from gallery import sha256

    content, means = options.model.read_bytes(), options.means.content if options.means else b""
    weights = weights_of(content)
    if weights and means:  # features without camera means are others
        weights = sha256(weights.encode() + means)
    return options.gallery, sha256(content + means), options.model.name, weights


def network_of(options):
    return Network(options.model, options.threads, options.accelerator, options.means, options.camera)


def load_gallery(options):
    from gallery import Gallery

    return Gallery.load(*owner(options))


def rank(options):
    """Prints the images of a folder by their distance to the query."""
    query_path, folder = existing(options.query), existing(options.folder, "folder")
    files, others = list_images(folder, SUFFIXES)
    pass_over(others)
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
    for place, index in enumerate(np.argsort(near, kind="stable")[: options.top], start=1):
        print(f"{place:4d}  {near[index]:8.3f}  {files[index].name}")
    print(f"{1000 * np.median(seconds):.1f} ms per image in the network (median of {len(seconds)})")


def search(options):
    """Prints the people of the gallery who are most similar to the query."""
    gallery, network = load_gallery(options), network_of(options)
    found = gallery.search(network.run(network.prepare(read(existing(options.query)))), options.top)
    print(f"rank  cosine  name (of {len(gallery.people)} in {gallery.path})")
    for place, (name, cosine) in enumerate(found, start=1):
        print(f"{place:4d}  {cosine:6.3f}  {name}")


def add(options):
    """Adds the images of a folder to the gallery: all of them, or none."""
    from gallery import Gallery, named_images

    folder, _ = existing(options.add, "folder"), existing(options.gallery.parent, "folder")
    if options.gallery.exists():
        load_gallery(options)  # refused before anything is computed, if it is of another model
    images, others = named_images(folder, SUFFIXES)
    pass_over(others)
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
    """Prints who is in the gallery, after everything in it has been checked."""
    gallery = load_gallery(options)
    print("features  name")
    for name, count in zip(*np.unique(gallery.names, return_counts=True), strict=True):
        print(f"{count:8d}  {name}")
    same = "" if gallery.network in ("", options.model.name) else f", of the same weights as {options.model.name}"
    print(f"Complete, and made by {gallery.network or options.model.name}{same}. {gallery}")


def follow(options):
    """Prints who is in the boxes of a video, or writes it as CSV."""
    from boxes import read_boxes
    from video import HEADING, FrameImages, VideoFrames, identities, lines, write

    if options.output:
        refuse_foreign(options.output, HEADING.encode())
    gallery, source = load_gallery(options), Path(options.video)
    boxes, skipped = read_boxes(existing(options.boxes))
    network = network_of(options)
    if source.is_dir():
        frames = FrameImages(source, SUFFIXES, read)
        pass_over(frames.others)
    else:
        is_camera = options.video.isdecimal() and not source.exists()
        frames = VideoFrames(int(options.video) if is_camera else existing(source))
    counted = skipped if options.outside == "skip" else None
    seen = identities(frames, boxes, network.embed_boxes, gallery, options.threshold, skipped=counted)
    if options.output:
        with replacing(options.output, "w", newline="", encoding="utf-8") as file:
            count = write(file, seen)
        print(f"{options.output}: {count} boxes")
    else:
        for line in lines(seen):
            print(line, flush=True)
    report(skipped)


def pass_over(others):
    """Prints how many files and folders are passed over, and the first of them."""
    if others:
        names = ", ".join(map(str, others[:3])) + ", ..." * (len(others) > 3)
        print(f"{len(others)} files or folders that are no images are passed over: {names}", file=sys.stderr)


def report(skipped):
    """Prints how many rows or boxes were skipped, and why."""
    if skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        print(f"{skipped.total()} boxes skipped: {reasons}", file=sys.stderr)


OF_EVERY_FORM = {"model", "threads", "accelerator", "cameras", "camera", "folder_camera"}
FORMS = [  # arguments besides the model: required ones, optional ones with their default, and the command
    (("QUERY", "FOLDER"), {"top": 10, "metric": "euclidean"}, rank),
    (("QUERY", "--gallery"), {"top": 10}, search),
    (("--gallery", "--add"), {}, add),
    (("--gallery", "--remove"), {}, remove),
    (("--gallery", "--check"), {}, check),
    (("--gallery", "--video", "--boxes"), {"threshold": 0.65, "output": None, "outside": "skip"}, follow),
]


def cosine(text):
    """Type of an argument: a number from -1 to 1."""
    if not -1 <= float(text) <= 1:  # nor NaN
        raise argparse.ArgumentTypeError(f"must be -1 .. 1. Received: {text}")
    return float(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help=".tflite file, of either kind")
    parser.add_argument("query", type=Path, nargs="?", help="image of the person to find")
    parser.add_argument("folder", type=Path, nargs="?", help="folder of images to rank")
    parser.add_argument("--top", type=whole(10**6), help="rows to print (default 10)")
    parser.add_argument("--threads", type=whole(MOST_THREADS), default=1, help="of the network (default 1)")
    parser.add_argument("--accelerator", choices=ACCELERATORS, default="cpu", help="that computes (default cpu)")
    parser.add_argument("--metric", choices=["euclidean", "cosine"], help="to rank FOLDER by (default euclidean)")
    parser.add_argument("--gallery", type=Path, metavar="FILE.npz", help="file of known people")
    parser.add_argument("--add", type=Path, metavar="FOLDER", help="a folder of images per person, or NAME.jpg each")
    parser.add_argument("--remove", metavar="NAME", help="person to remove")
    parser.add_argument("--check", action="store_true", default=None, help="check the gallery, and list who is in it")
    parser.add_argument("--video", metavar="SOURCE", help="folder of frames; video file or number of a camera (OpenCV)")
    parser.add_argument("--boxes", type=Path, metavar="FILE.csv", help="frame,left,top,right,bottom[,track], or MOT")
    parser.add_argument(
        "--outside", choices=["skip", "refuse"], help="boxes without a pixel in the frame (default skip)"
    )
    parser.add_argument("--threshold", type=cosine, help="cosine from which a person is known (default 0.65)")
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="write the rows there instead of printing them")
    parser.add_argument("--cameras", type=Path, metavar="FILE.json", help="mean features of cameras, to remove")
    parser.add_argument("--camera", metavar="NAME", help="camera of the images or the video (default unknown)")
    parser.add_argument("--folder-camera", metavar="NAME", help="camera of FOLDER (default unknown)")
    options = parser.parse_intermixed_args()
    if (options.camera or options.folder_camera) and not options.cameras:
        parser.error("--camera and --folder-camera need --cameras")
    given = {name for name, value in vars(options).items() if value is not None} - OF_EVERY_FORM
    for words, defaults, command in FORMS:
        needed = {word.strip("-").lower() for word in words}
        if needed <= given <= needed | set(defaults):
            missing = {name: value for name, value in defaults.items() if name not in given}
            return argparse.Namespace(**{**vars(options), **missing}, command=command)
    forms = ", or ".join(" ".join(words) for words, _, _ in FORMS)
    parser.error(f"besides MODEL, give {forms}. Received: {', '.join(sorted(given)) or 'nothing'}")


def main():
    options = arguments()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such images are refused
    existing(options.model)
    options.means = CameraMeans(existing(options.cameras)) if options.cameras else None
    options.command(options)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, RuntimeError) as error:  # LiteRT raises the last
        sys.exit(f"error: {error}")
