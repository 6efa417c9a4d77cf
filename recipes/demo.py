"""A page of your own: drop an image of a person, and see who in a folder of images is most alike, and why.

    pip install 'keras-osnet[demo]'
    python recipes/demo.py --weights FILE --gallery FOLDER

It shows the ten nearest images with their distances, where the network looks (paper, Figure 6), and which exponents
the gates of its last block prefer, beside the mean of the gallery (Figure 5). The page loads nothing from elsewhere.
The server listens on this machine only and answers only its own page. It keeps dropped images in memory and never
writes them to disk.
"""

import asyncio
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import frameworks  # noqa: F401 (first: it imports Keras and TensorFlow without their notices)
import keras
import numpy as np
from local_page import encoded, listen, run, serve, server_of
from PIL import Image

from keras_osnet import FeatureExtractor, preprocess_input
from keras_osnet.data import images
from keras_osnet.data.listing import list_images
from keras_osnet.identities import Gallery as Remembered
from keras_osnet.identities import fingerprint_of
from keras_osnet.inference.activations import gate_outputs, map_output, normalise_maps
from keras_osnet.inference.attributes import attribute_heads
from keras_osnet.metrics import MatchProbability
from keras_osnet.metrics.search import search
from keras_osnet.preprocessing import preprocessing_of
from keras_osnet.visual import exponent_fractions, overlay
from keras_osnet.weights import load_network

PAGE = Path(__file__).with_suffix(".html")
METRICS = {"euclidean": "Euclidean distance", "cosine": "1 - cosine"}
TOP, EXAMPLES, SAMPLE = 10, 24, 32
PEOPLE = 5  # of the gallery that remembers that are shown
# Longer side in pixels of images in a list, of the query beside its activation map, and of what the network takes in.
SMALL, SHOWN, LARGE = 192, 460, 1024
# Limits of a dropped file: then no format takes 300 MB of memory or seconds.
BYTES, PIXELS = 2**25, 2**24
# Files in memory at a time, and seconds for one to arrive.
FILES, SECONDS = 3, 3


@dataclass(frozen=True)
class Demo:
    """What to show."""

    weights: Path
    """A preset, file, folder or address (docs/weights.md)."""
    gallery: Path
    """Folder of images of people, with all folders below it."""
    people: str | None = None
    """File or address of a gallery that remembers (docs/gallery.md), to show who the person is."""
    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance between features."""
    port: int = 7860
    open: bool = True
    """Open the page in the browser."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """What is computed once: paths and features of all images, mean exponents of some, names of the attributes. `match`
    is the probability of a match for the metric, None if unknown. `people` opens the gallery that remembers."""

    paths: list
    features: np.ndarray
    exponents: np.ndarray
    metric: str
    attributes: tuple = ()
    match: MatchProbability | None = None
    people: Callable | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What is shown of a query. `exponents` is empty if the gates of the network do not depend on the image,
    `attributes` (probabilities) if it predicts none."""

    image: np.ndarray
    heat: np.ndarray
    indices: np.ndarray
    distances: np.ndarray
    exponents: np.ndarray
    attributes: np.ndarray
    people: tuple = ()


def prepare(settings):
    """Returns a network with all outputs that the page shows, and the gallery. Prints its progress."""
    paths, began = list_images(settings.gallery), time.perf_counter()
    model, _ = load_network(settings.weights)
    extractor, heads = FeatureExtractor(model), attribute_heads(model)
    people = opener(settings, extractor)

    def progress(done, total):
        print(f"\rfeatures of {done} of {total} images", end="", flush=True)

    features, network = extractor(paths, progress=progress), with_all_outputs(extractor.network, heads)
    some = paths[:: -(-len(paths) // SAMPLE)]
    exponents = np.mean([exponents_of(compute(network, images.read(path))) for path in some], axis=0)
    print(f", in {time.perf_counter() - began:.0f} s")
    names = tuple(heads[0].names) if heads else ()
    match = extractor.match if extractor.match and extractor.match.metric == settings.metric else None
    return network, Gallery(paths, features, exponents, settings.metric, names, match, people)


def opener(settings, extractor):
    """A function that opens the gallery that remembers, or None. A gallery of another network is refused."""
    if settings.people is None:
        return None
    if "://" not in settings.people and not Path(settings.people).is_file():
        raise ValueError(f"`people` must be a gallery. There is no file {settings.people}")
    facts = {"fingerprint": fingerprint_of(extractor.network), "dimension": extractor.feature_dim}
    network = {"network": str(settings.weights), "size": extractor.size}
    people = partial(Remembered.open, settings.people, **network, **facts)
    people().close()
    return people


def most_similar(gallery, feature):
    """The `Match`es of the most similar people in the gallery that remembers, one for each."""
    if gallery.people is None or not feature.any():  # a feature of zeros resembles nobody
        return ()
    with gallery.people() as people:  # it belongs to the thread that opens it
        most = sorted(people.identities().values())[1 - PEOPLE :]
        (rows,), best = people.search(feature, sum(most) + 1), {}  # so many rows are of `PEOPLE` people
    for row in rows:
        best.setdefault(row.identity, row)
    return tuple(best.values())[:PEOPLE]


def with_all_outputs(network, heads=()):
    """The network with more outputs: its last maps, attributes, and the gates of its last block, if it has them.

    One pass computes all of them, in a tenth of the time of one pass for each.
    """
    outputs = {"features": network.output, "maps": map_output(network)}
    gates = list(gate_outputs(network).values())
    if gates:
        outputs["gates"] = gates[-1]
    if heads:
        outputs["attributes"] = keras.ops.sigmoid(heads[0].output)
    made = keras.Model(network.inputs[0], outputs, name=network.name)
    made.preprocessing = preprocessing_of(network)
    return made


def compute(network, image):
    """The outputs of `with_all_outputs` for one image (h, w, 3)."""
    levels = images.resize(image, network.input_shape[1:3])[None]
    return network.predict_on_batch(preprocess_input(levels, preprocessing_of(network)))


def exponents_of(outputs):
    """The fraction of channels of the last block in which each stream has the largest gate: (T,), or (0,) without."""
    return exponent_fractions(outputs["gates"][0]) if "gates" in outputs else np.empty(0)


def answer(network, gallery, image, left_out=None):
    """Ranks the gallery, without its image number `left_out`."""
    outputs, count = compute(network, image), min(TOP + (left_out is not None), len(gallery.paths))
    indices, distances = search(outputs["features"], gallery.features, k=count, metric=gallery.metric)
    kept = indices[0] != (-1 if left_out is None else left_out)
    small, attributes = shrunk(image, SHOWN), outputs.get("attributes", np.empty((1, 0)))[0]
    heat = overlay(small, normalise_maps(outputs["maps"])[0])
    ranked, people = (indices[0][kept][:TOP], distances[0][kept][:TOP]), most_similar(gallery, outputs["features"])
    return Answer(small, heat, *ranked, exponents_of(outputs), attributes, people)


def name_of(path):
    """The file's name as text, with marks in place of bytes that are none."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def described(result, gallery):
    """An `Answer` as plain values for the page. Attributes are sorted by their probability."""
    paths = [gallery.paths[index] for index in result.indices]
    order = np.argsort(-result.attributes, kind="stable")
    metric, distances = METRICS[gallery.metric], [f"{d:.3g}" for d in result.distances]
    if gallery.match:
        metric += " and the probability that they show the same person (1/2 for a pair before it is seen)"
        probabilities = gallery.match(result.distances)
        distances = [f"{text}, {p:.0%}" for text, p in zip(distances, probabilities, strict=True)]
    seen = [(row.identity, f"{row.distance:.3g}", row.camera, row.time) for row in result.people]
    return {
        "metric": metric,
        "people": None if gallery.people is None else seen,
        "nearest": [(name_of(p), text, thumbnail(p)) for p, text in zip(paths, distances, strict=True)],
        "seen": [encoded(result.image), encoded(result.heat)],
        "attributes": [(gallery.attributes[j], float(result.attributes[j])) for j in order],
        "streams": np.stack([result.exponents, gallery.exponents], axis=1).tolist() if len(result.exponents) else [],
    }


def thumbnail(path):
    """An image file as a small data URL; None if it cannot be read any more."""
    try:
        return encoded(images.read(path, longest=SMALL))
    except ValueError:
        return None


def shrunk(image, longest):
    """The image with at most so many pixels along its longer side."""
    small = Image.fromarray(image)
    small.thumbnail((longest, longest))
    return np.asarray(small)


def application(network, gallery):
    """The page and what it asks for, as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.responses import FileResponse, JSONResponse
    from starlette.routing import Route

    order = np.random.default_rng(0).permutation(len(gallery.paths))
    lock, receiving = asyncio.Lock(), asyncio.Semaphore(FILES)

    async def one_at_a_time(function, *arguments):  # memory for the images of one request
        async with lock:
            return JSONResponse(await run_in_threadpool(function, *arguments))

    def page(request):
        return FileResponse(PAGE)

    def examples(number):
        rows = np.resize(np.roll(order, -number * EXAMPLES), min(EXAMPLES, len(order))).tolist()
        found = [(row, name_of(gallery.paths[row]), thumbnail(gallery.paths[row])) for row in rows]
        return {"images": found, "count": len(order), "largest": BYTES}

    def ranking(read, left_out=None):
        try:
            return described(answer(network, gallery, read(), left_out), gallery)
        except (ValueError, OSError) as error:  # of the image, or of the gallery that remembers
            raise HTTPException(422, str(error)) from error

    async def show_examples(request):
        return await one_at_a_time(examples, request.path_params["number"] % len(order))

    async def rank_chosen(request):
        row = request.path_params["row"] % len(order)
        return await one_at_a_time(ranking, lambda: images.read(gallery.paths[row], longest=LARGE), row)

    async def body_of(request):
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > BYTES:
                raise HTTPException(413, f"the file is larger than {BYTES:,} bytes")
        return bytes(content)

    async def rank_dropped(request):
        async with receiving:
            try:
                content = await asyncio.wait_for(body_of(request), SECONDS)
            except TimeoutError as error:
                raise HTTPException(408, f"the file took more than {SECONDS} s to arrive") from error
            except ClientDisconnect:
                return JSONResponse(None)  # nobody receives it
            read = partial(images.decode, content, "the file", longest=LARGE, pixels=PIXELS)
            return await one_at_a_time(ranking, read)

    routes = [
        Route("/", page),
        Route("/examples/{number:int}", show_examples, methods=["POST"]),
        Route("/rank", rank_dropped, methods=["POST"]),
        Route("/rank/{row:int}", rank_chosen, methods=["POST"]),
    ]
    return Starlette(routes=routes)


def server(network, gallery, listening):
    """The server of the page on an open socket."""
    return server_of(application(network, gallery), listening)


def main(settings: Demo):
    import starlette  # noqa: F401  # if it is missing, say so before the features are computed
    import uvicorn  # noqa: F401

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such images are refused
    with listen(settings.port) as listening:
        serve(server(*prepare(settings), listening), listening, settings.open)


if __name__ == "__main__":
    run(main, Demo, __doc__)
