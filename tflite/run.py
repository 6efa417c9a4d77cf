"""Ranks a folder of pictures of people by how much they resemble the person of one picture.

    python tflite/run.py MODEL.tflite QUERY.jpg FOLDER [--top 10] [--threads 1] [--metric cosine]

Smaller distances are better. It also keeps a file of known people, and finds them in pictures and videos:

    python tflite/run.py MODEL.tflite --gallery PEOPLE.npz --add FOLDER | --remove NAME | --check
    python tflite/run.py MODEL.tflite QUERY.jpg --gallery PEOPLE.npz [--top 10]
    python tflite/run.py MODEL.tflite --gallery PEOPLE.npz --video FRAMES --boxes BOXES.csv [--output SEEN.csv]

Runs where there is no TensorFlow: it needs ai-edge-litert, NumPy and Pillow.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
LARGE = 1024  # sides from twice this on are made smaller before they go into a file that takes any size
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def read(path):
    """A picture file as an upright RGB picture. Transparency is dropped, not laid over a colour."""
    try:
        with Image.open(path) as picture:
            picture = ImageOps.exif_transpose(picture)
            if picture.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
                levels = np.rint(np.asarray(picture, np.float32) / 257)
                picture = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
            return picture.convert("RGB")
    except Exception as error:  # Pillow's readers raise what they like
        raise ValueError(f"{path} is no picture that can be read: {error}") from error


class Network:
    """A TFLite file that turns a picture into a feature.

    Of either kind: it takes pictures of any size in its signature `embed`, or one normalised picture of one size.
    """

    def __init__(self, path, threads):
        try:
            self.interpreter = Interpreter(str(path), num_threads=threads)
            names = self.interpreter.get_signature_list()
            self.takes_any_size = "embed" in names
            # None of a file of the other kind: to hold one would forbid to set its tensors.
            self.runners = {name: self.interpreter.get_signature_runner(name) for name in names if self.takes_any_size}
            if not self.takes_any_size:
                self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is not a TFLite file that LiteRT can run: {error}") from error
        if not self.takes_any_size:
            self.input, self.output, self.size = self._plain(path)

    def _plain(self, path):
        """LiteRT's details of the input and of the feature, and (height, width) of the input."""
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        for name in self.interpreter.get_signature_list():  # a file of several outputs names them
            named = self.interpreter.get_signature_runner(name).get_output_details()
            outputs = [named["features"]] if "features" in named else outputs
        shapes = [tuple(int(side) for side in one["shape"]) for one in inputs]
        is_one_picture = [(len(shape), *shape[::3]) for shape in shapes] == [(4, 1, 3)]
        if not is_one_picture or inputs[0]["dtype"] not in (np.float32, np.int8) or len(outputs) != 1:
            raise ValueError(
                f"{path} must have a signature `embed`, or take one float32 or int8 picture (1, height, width, 3) and "
                f"give one feature. It takes {shapes} and gives {len(outputs)}"
            )
        return inputs[0], outputs[0], shapes[0][1:3]

    def prepare(self, picture):
        """An RGB picture as the file takes it: uint8, or resized and normalised as in training."""
        if self.takes_any_size:
            # The file resizes in float32: of 48 million pixels in 10 s and 1 GB. A feature's cosine to that of the
            # smaller picture was 0.999998.
            return np.asarray(picture.reduce(tuple(max(side // LARGE, 1) for side in picture.size)))
        picture = picture.resize(self.size[::-1], Image.Resampling.BILINEAR)
        values = ((np.asarray(picture, np.float32) / 255 - MEAN) / STD)[None]
        if self.input["dtype"] != np.int8:
            return values
        scale, zero = self.input["quantization"]
        return np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)

    def run(self, prepared):
        """(D,) feature of a prepared picture."""
        if self.takes_any_size:
            return self.runners["embed"](picture=prepared)["feature"]
        self.interpreter.set_tensor(self.input["index"], prepared)
        self.interpreter.invoke()
        feature = self.interpreter.get_tensor(self.output["index"])[0].copy()
        if self.output["dtype"] != np.int8:
            return feature
        scale, zero = self.output["quantization"]
        return np.float32(scale) * (feature.astype(np.float32) - zero)

    def embed_boxes(self, picture, boxes):
        """(N, D) features of boxes (left, top, right, bottom) of an RGB picture, in whole pixels within it."""
        if "embed_boxes" in self.runners:
            return self.runners["embed_boxes"](frame=np.asarray(picture), boxes=np.float32(boxes))["features"]
        return np.stack([self.run(self.prepare(picture.crop(box))) for box in boxes])


def distances(query, gallery, metric):
    """(G,) distances of gallery features (G, D) to a query feature (D,)."""
    if metric == "euclidean":
        return np.linalg.norm(gallery - query, axis=1)
    norms = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    return 1 - gallery @ query / np.maximum(norms, 1e-12)


def found(path, kind="file"):
    """The path, if it is there."""
    if not (path.is_dir() if kind == "folder" else path.is_file()):
        raise FileNotFoundError(f"There is no {kind} {path}")
    return path


def gallery_of(options, *, new=False):
    """The gallery of --gallery; an empty one where it may be new and is not there."""
    from gallery import Gallery, sha256  # beside this file, which does its first form alone

    model = sha256(options.model.read_bytes())
    return (Gallery if new and not options.gallery.exists() else Gallery.load)(options.gallery, model)


def rank(options):
    """Prints the pictures of a folder by their distance to the query."""
    query_path, folder = found(options.query), found(options.folder, "folder")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder} must hold pictures ({', '.join(sorted(SUFFIXES))})")
    network = Network(options.model, options.threads)
    features, seconds = [], []
    for path in [query_path, *files]:
        picture = network.prepare(read(path))
        began = time.perf_counter()
        features.append(network.run(picture))
        seconds.append(time.perf_counter() - began)
    near = distances(features[0], np.stack(features[1:]), options.metric)
    print(f"rank  distance  picture (of {len(files)} in {folder})")
    for place, index in enumerate(np.argsort(near, kind="stable")[: options.top], start=1):
        print(f"{place:4d}  {near[index]:8.3f}  {files[index].name}")
    print(f"{1000 * np.median(seconds):.1f} ms a picture in the network (median of {len(seconds)})")


def search(options):
    """Prints the people of the gallery who are most alike to the query."""
    gallery, network = gallery_of(options), Network(options.model, options.threads)
    feature = network.run(network.prepare(read(found(options.query))))
    print(f"rank  cosine  name (of {len(gallery.people)} in {gallery.path})")
    for place, (name, cosine) in enumerate(gallery.search(feature, options.top), start=1):
        print(f"{place:4d}  {cosine:6.3f}  {name}")


def add(options):
    """Adds the pictures of a folder to the gallery: all of them, or none."""
    from gallery import named_pictures

    gallery, folder = gallery_of(options, new=True), found(options.add, "folder")
    pictures = named_pictures(folder, SUFFIXES)
    if not pictures:
        raise ValueError(f"{folder} must hold pictures, or a folder of pictures for each person")
    network = Network(options.model, options.threads)
    features = np.stack([network.run(network.prepare(read(path))) for _, path in pictures])
    added = gallery.append([name for name, _ in pictures], features)
    gallery.save()
    print(f"{added} added, {len(pictures) - added} were there already. {gallery}")


def remove(options):
    """Removes a person from the gallery."""
    gallery = gallery_of(options)
    removed = gallery.remove(options.remove)
    gallery.save()
    print(f"{removed} removed. {gallery}")


def check(options):
    """Prints who is in the gallery, after everything in it has been checked."""
    gallery = gallery_of(options)
    print("features  name")
    for name, count in zip(*np.unique(gallery.names, return_counts=True), strict=True):
        print(f"{count:8d}  {name}")
    print(f"Whole, and made by {options.model}. {gallery}")


def follow(options):
    """Prints who is in the boxes of a video, or writes it as CSV."""
    from boxes import read_boxes
    from gallery import replacing
    from video import FramePictures, VideoFrames, identities, lines, write

    gallery, boxes, source = gallery_of(options), read_boxes(found(options.boxes)), Path(options.video)
    network = Network(options.model, options.threads)
    if source.is_dir():
        frames = FramePictures(source, SUFFIXES, read)
    else:
        is_camera = options.video.isdecimal() and not source.exists()
        frames = VideoFrames(int(options.video) if is_camera else found(source))
    seen = identities(frames, boxes, network.embed_boxes, gallery, options.threshold)
    if options.output:
        with replacing(options.output, "w", newline="", encoding="utf-8") as file:
            count = write(file, seen)
        print(f"{options.output}: {count} boxes")
    else:
        for line in lines(seen):
            print(line, flush=True)


FORMS = [  # what must be given besides the model, what may be and its default, and what is then done
    (("QUERY", "FOLDER"), {"top": 10, "metric": "euclidean"}, rank),
    (("QUERY", "--gallery"), {"top": 10}, search),
    (("--gallery", "--add"), {}, add),
    (("--gallery", "--remove"), {}, remove),
    (("--gallery", "--check"), {}, check),
    (("--gallery", "--video", "--boxes"), {"threshold": 0.65, "output": None}, follow),
]


def positive(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help=".tflite file, of either kind")
    parser.add_argument("query", type=Path, nargs="?", help="picture of the person to find")
    parser.add_argument("folder", type=Path, nargs="?", help="folder of pictures to rank")
    parser.add_argument("--top", type=positive, help="rows to print (default 10)")
    parser.add_argument("--threads", type=positive, default=1, help="of the network (default 1)")
    parser.add_argument("--metric", choices=["euclidean", "cosine"], help="to rank FOLDER by (default euclidean)")
    parser.add_argument("--gallery", type=Path, metavar="FILE.npz", help="file of known people")
    parser.add_argument("--add", type=Path, metavar="FOLDER", help="a folder of pictures per person, or NAME.jpg each")
    parser.add_argument("--remove", metavar="NAME", help="person to remove")
    parser.add_argument("--check", action="store_true", default=None, help="check the gallery, and list who is in it")
    parser.add_argument("--video", metavar="SOURCE", help="folder of frames; video file or number of a camera (OpenCV)")
    parser.add_argument("--boxes", type=Path, metavar="FILE.csv", help="frame,left,top,right,bottom[,track], or MOT")
    parser.add_argument("--threshold", type=float, help="cosine from which a person is known (default 0.65)")
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="write there what is else printed")
    options = parser.parse_intermixed_args()
    given = {name for name, value in vars(options).items() if value is not None} - {"model", "threads"}
    for words, defaults, command in FORMS:
        needed = {word.strip("-").lower() for word in words}
        if needed <= given <= needed | set(defaults):
            missing = {name: value for name, value in defaults.items() if name not in given}
            return argparse.Namespace(**{**vars(options), **missing}, command=command)
    forms = ", or ".join(" ".join(words) for words, _, _ in FORMS)
    parser.error(f"besides MODEL, give {forms}. Received: {', '.join(sorted(given)) or 'nothing'}")


def main():
    options = arguments()
    found(options.model)
    options.command(options)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:  # LiteRT raises the last
        sys.exit(f"error: {error}")
