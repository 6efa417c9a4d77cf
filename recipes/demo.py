"""A page of one's own: give it a picture of a person, and see who in a folder of pictures is most like them, and why.

    pip install keras-osnet[demo]
    python recipes/demo.py --weights FILE --gallery FOLDER

It shows the ten nearest pictures with their distances, where the network looks (paper, Figure 6), and which exponents
the gates of its last block prefer, beside the gallery's mean (Figure 5). The page is served to this machine only and
loads nothing from anywhere else.
"""

import base64
import io
import os
import sys
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# What Gradio and its dependencies would report home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import keras
import numpy as np
import tyro
from PIL import Image, ImageOps

from keras_osnet import FeatureExtractor, preprocess_input
from keras_osnet.data.images import list_images
from keras_osnet.inference.attributes import attribute_heads
from keras_osnet.metrics.search import search
from keras_osnet.visual.network import exponent_shares, gate_network, maps_of, overlay
from keras_osnet.weights import load_network

TOP, EXAMPLES, SAMPLE, HEIGHT = 10, 24, 32, 192
CSS = """
.osnet { font-variant-numeric: tabular-nums; color: var(--body-text-color); }
.osnet h3 { margin: 1.2em 0 .5em; font-size: 1rem; }
.osnet ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(max(82px, 16%), 1fr)); gap: 12px 10px;
            margin: 0; padding: 0; list-style: none; }
.osnet figure { margin: 0; min-width: 0; }
.osnet ol img { width: 100%; height: 164px; object-fit: contain; }
.osnet figcaption { font-size: .8rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.osnet .seen { display: flex; gap: 10px; }
.osnet .seen img { height: 230px; max-width: 100%; object-fit: contain; }
.osnet .gates { display: grid; grid-template-columns: max-content 1fr 3.2em; gap: 3px 10px; align-items: center;
                max-width: 560px; font-size: .85rem; }
.osnet .gates div { height: 13px; box-sizing: border-box; border: 1.5px solid #0b5fa5; background: #0b5fa5; }
.osnet .gates div.mean { border-color: #8a6d00;
    background: repeating-linear-gradient(135deg, #8a6d00 0 2px, transparent 2px 6px); margin-bottom: 7px; }
.osnet .gates .mean-text { margin-bottom: 7px; opacity: .8; }
#examples .grid-wrap { overflow-x: hidden; max-height: 430px; }
#examples .grid-container { grid-template-columns: repeat(auto-fill, minmax(58px, 1fr)); gap: 6px;
                             padding-top: 46px; }
#examples .thumbnail-item { width: 100%; height: auto; aspect-ratio: 1 / 2; }
"""


@dataclass(frozen=True)
class Demo:
    """What to show."""

    weights: Path
    """.keras, or torchreid's .pth / .pth.tar."""
    gallery: Path
    """Folder of pictures of people, with all folders below it."""
    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance between features."""
    port: int = 7860
    open: bool = True
    """Open the page in the browser."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """What is computed once: of every picture its path and feature, the mean exponents of some, attributes' names."""

    paths: list
    features: np.ndarray
    exponents: np.ndarray
    metric: str
    attributes: tuple = ()


@dataclass(frozen=True, eq=False)
class Answer:
    """What is shown of a query; `exponents` is empty where the network's gates do not depend on the picture, and
    `attributes`, probabilities, where it gives none."""

    picture: np.ndarray
    heat: np.ndarray
    found: np.ndarray
    distances: np.ndarray
    exponents: np.ndarray
    attributes: np.ndarray


def read(path, name=None):
    """(h, w, 3) uint8 RGB, the right side up."""
    try:
        with Image.open(path) as file:
            return np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name or path} is no picture that can be read") from error


def prepare(settings):
    """A network that gives all that is shown, and the gallery; says how far it is."""
    paths, began = list_images(settings.gallery), time.perf_counter()
    model, _ = load_network(settings.weights)
    extractor, heads = FeatureExtractor(model), attribute_heads(model)

    def progress(done, total):
        print(f"\rfeatures of {done} of {total} pictures", end="", flush=True)

    features, network = extractor(paths, progress=progress), watched(extractor.network, heads)
    sample = [exponents_of(look(network, read(path))) for path in paths[:: -(-len(paths) // SAMPLE)]]
    print(f", in {time.perf_counter() - began:.0f} s")
    names = tuple(heads[0].names) if heads else ()
    return network, Gallery(paths, features, np.mean(sample, axis=0), settings.metric, names)


def watched(network, heads=()):
    """The network with more outputs: its last maps, attributes, and the gates of its last block where there are any.

    All in one pass, which Keras traces once: a query takes a tenth of the time that the parts take one by one.
    """
    layers = [layer.output for layer in network.layers if isinstance(layer.output, keras.KerasTensor)]
    outputs = {"features": network.output, "maps": [output for output in layers if output.ndim == 4][-1]}
    try:
        outputs["gates"] = list(gate_network(network).output.values())[-1]
    except ValueError:  # baselines and some variants have none
        pass
    if heads:
        outputs["attributes"] = keras.ops.sigmoid(heads[0].output)
    return keras.Model(network.inputs[0], outputs, name=network.name)


def look(network, picture):
    """What `watched` gives for one picture (h, w, 3)."""
    height, width = network.input_shape[1:3]
    resized = Image.fromarray(picture).resize((width, height), Image.BILINEAR)
    return network.predict_on_batch(preprocess_input(np.asarray(resized)[None]))


def exponents_of(outputs):
    """(T,): the share of channels of the last block in which each stream has the largest gate. (0,) without gates."""
    return exponent_shares(outputs["gates"][0]) if "gates" in outputs else np.empty(0)


def answer(network, gallery, picture, left_out=None):
    """Ranks the gallery, but for the picture number `left_out`, and looks into the network."""
    outputs, count = look(network, picture), min(TOP + (left_out is not None), len(gallery.paths))
    found, distances = search(outputs["features"], gallery.features, k=count, metric=gallery.metric)
    kept = found[0] != (-1 if left_out is None else left_out)
    heat, likely = overlay(picture, maps_of(outputs["maps"])[0]), outputs.get("attributes", np.empty((1, 0)))[0]
    return Answer(picture, heat, found[0][kept][:TOP], distances[0][kept][:TOP], exponents_of(outputs), likely)


def ranking(result, gallery):
    """The nearest pictures."""
    items = []
    for rank, (index, distance) in enumerate(zip(result.found, result.distances, strict=True), 1):
        name = escape(gallery.paths[index].name, quote=True)
        items.append(
            f'<li><figure><img src="{source(read(gallery.paths[index]))}" alt="{name}"><figcaption title="{name}">'
            f"<b>{rank}.</b> {distance:.3g}<br>{name}</figcaption></figure></li>"
        )
    kind = {"euclidean": "Euclidean distance", "cosine": "1 - cosine"}[gallery.metric]
    return f"<h3>Nearest pictures, with their {kind}</h3><ol>{''.join(items)}</ol>"


def looks(result, gallery):
    """The picture and its activation map."""
    pictures = (("the picture", result.picture), ("activation map: yellow where it is strongest", result.heat))
    images = "".join(f'<img src="{source(pixels)}" alt="{text}" title="{text}">' for text, pixels in pictures)
    return f'<h3>Where the network looks</h3><div class="seen">{images}</div>'


def gates(result, gallery):
    """The exponents that the gates prefer, beside the gallery's mean."""
    if not len(result.exponents):
        return "<h3>Gates</h3><p>This network has no gates that depend on the picture.</p>"
    rows = []
    for t, (own, mean) in enumerate(zip(result.exponents, gallery.exponents, strict=True), 1):
        rows.append(
            f'<span>stream {t}</span><div style="width:{100 * own:.1f}%"></div><span>{100 * own:.0f} %</span>'
            f'<span class="mean-text">gallery</span><div class="mean" style="width:{100 * mean:.1f}%"></div>'
            f'<span class="mean-text">{100 * mean:.0f} %</span>'
        )
    head = "Gates of the last block: channels that prefer each stream"
    return f'<h3>{head}</h3><div class="gates">{"".join(rows)}</div>'


def attributes(result, gallery):
    """The attributes, the most probable first."""
    rows = []
    for j in np.argsort(-result.attributes, kind="stable"):
        share = f"{100 * result.attributes[j]:.0f}"
        rows.append(
            f'<span>{escape(gallery.attributes[j])}</span><div style="width:{share}%"></div><span>{share} %</span>'
        )
    return f'<h3>Attributes, with their probability</h3><div class="gates">{"".join(rows)}</div>' if rows else ""


PARTS = (ranking, looks, attributes, gates)


def source(picture):
    """A small copy of a picture, as the address of itself."""
    image, file = Image.fromarray(picture), io.BytesIO()
    image.resize((max(1, round(image.width * HEIGHT / image.height)), HEIGHT), Image.LANCZOS).save(file, "JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def page_of(network, gallery):
    """The page."""
    import gradio as gr

    order = np.random.default_rng(0).permutation(len(gallery.paths))

    def shown(number):
        rows = np.resize(np.roll(order, -number * EXAMPLES), min(EXAMPLES, len(order)))
        return [int(row) for row in rows]

    def thumbnails(number):
        return [Image.fromarray(read(gallery.paths[row])).resize((64, 128)) for row in shown(number)]

    def respond(picture, left_out=None):
        result = answer(network, gallery, picture, left_out)
        return f'<div class="osnet">{"".join(part(result, gallery) for part in PARTS)}</div>'

    def dropped(path):
        try:
            return respond(read(path, Path(path).name))
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def picked(number, event: gr.SelectData):
        row = shown(number)[event.index]
        return respond(read(gallery.paths[row]), row)

    def others(number):
        return number + 1, gr.Gallery(thumbnails(number + 1), selected_index=None)

    with gr.Blocks(analytics_enabled=False, title="OSNet: who is most alike?") as page:
        gr.Markdown(f"## Who is most alike?\n{len(gallery.paths):,} pictures in the gallery")
        number = gr.State(0)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                drop = gr.File(label="Drop a picture of a person", file_types=["image"], height=130)
                examples = gr.Gallery(
                    thumbnails(0), label="or pick one of the gallery; its own ranking leaves it out", columns=6,
                    object_fit="cover", allow_preview=False, interactive=False, buttons=[], elem_id="examples",
                )  # fmt: skip
                more = gr.Button("Other pictures of the gallery", visible=len(order) > EXAMPLES)
            with gr.Column(scale=3, min_width=300):
                result = gr.HTML('<div class="osnet"><p>The ranking appears here.</p></div>', elem_id="result")
        drop.upload(dropped, drop, result)
        examples.select(picked, number, result)
        more.click(others, number, [number, examples])
    return page


def serve(page, settings, **options):
    """Serves the page to this machine only. `options` are those of Gradio's `launch`."""
    import gradio as gr

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return page.launch(
        server_name="127.0.0.1", server_port=settings.port, inbrowser=settings.open, share=False, quiet=True,
        theme=gr.themes.Base(**fonts), css=CSS, footer_links=[], run_history=False, ssr_mode=False, pwa=False,
        **options,
    )  # fmt: skip


def main(settings: Demo):
    page = page_of(*prepare(settings))
    print(f"http://127.0.0.1:{settings.port} (Ctrl-C ends it)", flush=True)
    serve(page, settings)


if __name__ == "__main__":
    try:
        main(tyro.cli(Demo, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}. The page needs Gradio: pip install keras-osnet[demo]")
