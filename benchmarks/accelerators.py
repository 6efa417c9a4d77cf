"""Features of TFLite files on the processor, on a GPU and in a browser, beside those that Keras computes.

    python benchmarks/accelerators.py [--variants osnet osnet_ain] [--widths 1 0.25] [--height 64] [--browser]
    python benchmarks/accelerators.py --weights FILE [FILE ...] --calibration FOLDER

The first form converts networks with random weights to files of float32, float16 and uint8 input. The second converts
trained weights, in int8 too. Each row has the smallest cosine over the images between a file's feature and Keras', on
LiteRT's Interpreter, on its CompiledModel on the CPU and the GPU, and with `--browser` in LiteRT.js on the CPU (wasm)
and the GPU (WebGPU). Networks with random weights map all images to nearly the same feature, so that the mean of Keras'
features is subtracted first, from both. The last column is the largest cosine between Keras' features of two different
images. Where Debian's chromium is installed, its SwiftShader, a GPU in software, is the GPU. The exit status is 1 where
a cosine is below .99.

A browser runs files of uint8 input only, because the page does: they have the ops of the others and two at the start.
It needs chromium, Playwright and LiteRT.js (`python tflite/web.py` fetches it).
"""

import base64
import os
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tflite")]  # for the tests' networks and the page
SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
FILES = {"float32": {}, "float16": {"quantization": "float16"}, "uint8 input": {"input_type": "uint8"}}
INT8 = {"int8": {"quantization": "int8"}, "int8, uint8 input": {"quantization": "int8", "input_type": "uint8"}}
FLAGS = {
    "wasm": [],
    "webgpu": ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"],
}
EMBED = """async ([accelerator, images]) => {
    const { loadNetwork } = await import("/network.js");
    const network = await loadNetwork(accelerator), features = [];
    for (const image of images)
        features.push(Array.from(await network.run(Uint8Array.from(atob(image), (one) => one.charCodeAt()))));
    return features; }"""
LEAST = 0.99


def with_swiftshader():
    """Starts this program again with the environment in which LiteRT finds SwiftShader, which it reads at its start."""
    places = {"VK_ICD_FILENAMES": str(SWIFTSHADER), "LD_LIBRARY_PATH": str(SWIFTSHADER.parent)}
    if SWIFTSHADER.is_file() and "VK_ICD_FILENAMES" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | places)


def images_of(size, number):
    """(number, H, W, 3) RGB levels: drawn people, each another one."""
    from keras_osnet.data.drawn.synthetic import render

    people = [render(i, 1, 0).resize(size[::-1], Image.Resampling.BILINEAR) for i in range(number)]
    return np.stack([np.asarray(person.convert("RGB")) for person in people])


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def in_browser(path, levels, accelerator):
    """Features that LiteRT.js computes in chromium."""
    import web
    from playwright.sync_api import sync_playwright

    web.fetch_runtime(web.runtime_folder())
    given = [base64.b64encode(image.tobytes()).decode() for image in levels]
    with web.server(web.contents(path, web.runtime_folder()), 0) as serving, sync_playwright() as driver:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        browser = driver.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", *FLAGS[accelerator]]
        )
        tab = browser.new_page()
        tab.goto(f"http://127.0.0.1:{serving.server_port}/manifest.json")  # of the page's origin, and does nothing
        features = np.array(tab.evaluate(EMBED, [accelerator, given]))
        serving.shutdown()
    return features


def row_of(path, levels, normalised, cosine_of, browser):
    """The smallest cosine to Keras' features on each runtime."""
    from keras_osnet.export.litert import ACCELERATORS, run_compiled, run_tflite
    from keras_osnet.export.metadata import metadata_of

    takes_levels = "uint8" in metadata_of(path)["input"]
    images = levels if takes_levels else normalised
    row = {"Interpreter": cosine_of(run_tflite(path, images))}
    for accelerator in ACCELERATORS:
        found = np.stack([one["features"] for one in run_compiled(path, images, accelerator)])
        row[accelerator] = cosine_of(found)
    if browser and takes_levels:
        row |= {name: cosine_of(in_browser(path, levels, name)) for name in FLAGS}
    return row


def measured(name, source, number, browser, calibration):
    """Prints the rows of weights, or of random ones for the settings of an OSNet. Returns the smallest cosine."""
    import keras

    import keras_osnet
    from keras_osnet.export import recommended_float_parts, to_tflite
    from keras_osnet.weights import load_network
    from tests.inference.networks import with_lively_weights

    trained = isinstance(source, str)
    network = load_network(source)[0] if trained else with_lively_weights(keras_osnet.OSNet(**source))
    kinds = FILES | (INT8 if calibration else {})
    levels, least = images_of(network.input_shape[1:3], number), 1.0
    normalised = keras_osnet.preprocess_input(levels, network.preprocessing)
    expected = keras.ops.convert_to_numpy(network(normalised, training=False))
    center = 0 if trained else expected.mean(0)
    unlike = np.max([cosines(expected - center, np.roll(expected - center, i, 0)).max() for i in range(1, number)])

    def cosine_of(features):
        return cosines(features - center, expected - center).min()

    with tempfile.TemporaryDirectory() as folder:
        for kind, options in kinds.items():
            given = {}
            if options.get("quantization") == "int8":
                given = {"calibration": calibration, "float_parts": recommended_float_parts(network, "int8")}
            path = Path(folder, "network.tflite")
            to_tflite(network, path, **options, **given)
            row = row_of(path, levels, normalised, cosine_of, browser)
            least = min(least, *row.values())
            cells = [f"{row[key]:.5f}" if key in row else "" for key in ("Interpreter", "CPU", "GPU", *FLAGS)]
            print("|", " | ".join([name, kind, *cells, f"{unlike:.3f}"]), "|", flush=True)
    return least


def named(weights):
    """{name: source} of weights: the file's name, or all of the source where two files have one name."""
    stems = [Path(source).stem for source in weights]
    return {stem if stems.count(stem) == 1 else source: source for stem, source in zip(stems, weights, strict=True)}


def main(
    variants: tuple[str, ...] = (),
    widths: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25),
    weights: tuple[str, ...] = (),
    calibration: Path | None = None,
    height: int = 256,
    images: int = 4,
    browser: bool = False,
):
    """Compares features of TFLite files with Keras'.

    Args:
        variants: rows of keras_osnet.VARIANTS. Default: all.
        widths: of the networks with random weights.
        height: of their images, twice the width.
        weights: trained weights, in place of networks with random ones.
        calibration: folder of images for int8 files.
        images: number of images that are compared.
        browser: run the files in chromium too.
    """
    from keras_osnet import VARIANTS

    if images < 2:
        sys.exit(f"error: `images` must be at least 2. Received: images={images}")
    networks = named(weights)
    if not weights:
        networks = {
            f"{variant} x{width:g}": {"width": width, "variant": variant, "input_shape": (height, height // 2, 3)}
            for variant, width in product(variants or VARIANTS, widths)
        }
    print("| network | file | Interpreter | CPU | GPU | wasm | WebGPU | Keras, different images |")
    print("|---|---|---|---|---|---|---|---|")
    found = []
    for name, source in networks.items():
        # A process of its own: after other networks, SwiftShader may have too little memory.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found.append(pool.submit(measured, name, source, images, browser, calibration).result())
    sys.exit(None if min(found) >= LEAST else f"a cosine is below {LEAST}: {min(found):.5f}")


if __name__ == "__main__":
    with_swiftshader()
    tyro.cli(main)
