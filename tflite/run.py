"""Ranks a folder of pictures of people by how much they resemble the person of one picture.

    python tflite/run.py MODEL.tflite QUERY.jpg GALLERY_FOLDER [--top 10] [--threads 1] [--metric cosine]

Runs where there is no TensorFlow: it needs ai-edge-litert, NumPy and Pillow. Smaller distances are better.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, UnidentifiedImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def read(path, size):
    """(1, height, width, 3) float32: RGB, resized, normalised as in training."""
    with Image.open(path) as picture:
        picture = picture.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
    return ((np.asarray(picture, np.float32) / 255 - MEAN) / STD)[None]


class Network:
    """A TFLite file that turns one normalised picture into one feature."""

    def __init__(self, path, threads):
        try:
            self.interpreter = Interpreter(str(path), num_threads=threads)
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is not a TFLite file that LiteRT can run: {error}") from error
        (self.input,), (self.output,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        shape = tuple(int(side) for side in self.input["shape"])
        if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or self.input["dtype"] != np.float32:
            raise ValueError(f"{path} must take one float32 picture (1, height, width, 3). It takes {shape}")
        self.size = shape[1:3]

    def __call__(self, picture):
        self.interpreter.set_tensor(self.input["index"], picture)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output["index"])[0].copy()


def distances(query, gallery, metric):
    """(G,) distances of gallery features (G, D) to a query feature (D,)."""
    if metric == "euclidean":
        return np.linalg.norm(gallery - query, axis=1)
    norms = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    return 1 - gallery @ query / np.maximum(norms, 1e-12)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help=".tflite file")
    parser.add_argument("query", type=Path, help="picture of the person to find")
    parser.add_argument("gallery", type=Path, help="folder of pictures to rank")
    parser.add_argument("--top", type=int, default=10, help="rows to print (default 10)")
    parser.add_argument("--threads", type=int, default=1, help="of the network (default 1)")
    parser.add_argument("--metric", choices=["euclidean", "cosine"], default="euclidean")
    return parser.parse_args()


def main():
    options = arguments()
    for path in (options.model, options.query):
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}")
    if not options.gallery.is_dir():
        raise FileNotFoundError(f"There is no folder {options.gallery}")
    files = sorted(path for path in options.gallery.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{options.gallery} must hold pictures ({', '.join(sorted(SUFFIXES))})")
    network = Network(options.model, options.threads)
    features, seconds = [], []
    for path in [options.query, *files]:
        try:
            picture = read(path, network.size)
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"{path} is no picture that can be read: {error}") from error
        began = time.perf_counter()
        features.append(network(picture))
        seconds.append(time.perf_counter() - began)
    query, gallery = features[0], np.stack(features[1:])
    found = distances(query, gallery, options.metric)
    print(f"rank  distance  picture (of {len(files)} in {options.gallery})")
    for rank, index in enumerate(np.argsort(found, kind="stable")[: options.top], start=1):
        print(f"{rank:4d}  {found[index]:8.3f}  {files[index].name}")
    print(f"{1000 * np.median(seconds):.1f} ms a picture in the network (median of {len(seconds)})")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
