"""Serves a page that knows people by the camera of a phone or computer: everything is computed in the browser.

    python tflite/web.py [FILE.tflite] [--port 8000]

FILE is written by `convert.py MODEL --input uint8`. Without it, the page uses the weights that keras_osnet carries,
which needs TensorFlow once. The first run fetches LiteRT.js with npm into $KERAS_OSNET_CACHE, or ~/.cache/keras_osnet.
The server listens on this machine only. Otherwise it needs ai-edge-litert, NumPy and Pillow.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from accelerators import quiet  # beside this file
from network import Network, metadata_of

PAGE = Path(__file__).with_suffix("")
TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".json": "application/json", ".svg": "image/svg+xml", ".wasm": "application/wasm",
    ".tflite": "application/octet-stream",
}  # fmt: skip
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Keras-OSNet": "page",  # web/sw.js keeps answers with it
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
SECONDS = 300  # for npm


def cache():
    folder = Path(os.environ.get("KERAS_OSNET_CACHE") or "~/.cache/keras_osnet")
    try:
        return folder.expanduser()
    except RuntimeError as error:  # as in some containers
        raise OSError(f"$KERAS_OSNET_CACHE must name a folder, as there is no home folder for {folder}") from error


def runtime_folder():
    """Folder of LiteRT.js of the version in package.json."""
    version = json.loads((PAGE / "package.json").read_text())["dependencies"]["@litertjs/core"]
    return cache() / f"litertjs-{version}"


def fetch_runtime(folder):
    """Fetches LiteRT.js with npm, if it is not there. Its SHA-512 is in package-lock.json.

    Raises:
        ValueError: if npm is not installed or cannot fetch it.
    """
    if folder.is_dir():
        return
    npm = shutil.which("npm")
    if not npm:
        raise ValueError("LiteRT.js is fetched by npm, which is not installed: https://nodejs.org")
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"npm fetches LiteRT.js to {folder}", flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(PAGE / name, Path(temporary, name))
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"npm has not fetched LiteRT.js in {SECONDS} s: is the network there?") from error
        if done.returncode:
            raise ValueError(f"npm cannot fetch LiteRT.js: is the network there? {done.stderr.strip()[-500:]}")
        try:
            Path(temporary, "node_modules", "@litertjs").rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process has fetched it meanwhile
                raise


def people_file():
    """The weights that keras_osnet carries as a TFLite file, written at the first call."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet():  # TensorFlow writes lines that no setting switches off
            from keras_osnet import PRESETS, OSNet, __version__
            from keras_osnet.export import to_tflite
    except ImportError as error:
        raise ValueError(f"without FILE.tflite, keras_osnet[tensorflow] must be installed: {error}") from error
    folder = f"people-{PRESETS['osnet_x0_25_people'].sha256[:12]}-{__version__}"  # a new version converts anew
    path = cache() / folder / "osnet_x0_25_people.tflite"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with quiet():
            to_tflite(OSNet.from_preset("osnet_x0_25_people"), path, input_type="uint8")
    return path


def facts(path):
    """What the page must know of a TFLite file, with the feature that it must compute for an image of known pixels.

    Raises:
        ValueError: if the file does not take uint8 images of one size and return features.
    """
    network = Network(path)
    if network.takes_any_size or not network.takes_levels:
        raise ValueError(f"{path} must take uint8 images of one size. `convert.py --input uint8` writes such files")
    (height, width), content = network.size, path.read_bytes()
    known = metadata_of(content)
    y, x, channel = np.ogrid[:height, :width, :3]
    expected = network.run(((3 * y + 5 * x + 80 * channel) % 256).astype(np.uint8)[None])
    return {
        "network": path.name, "model": hashlib.sha256(content).hexdigest(), "weights": str(known.get("weights", "")),
        "height": height, "width": width, "expected": expected.tolist(),
        "least": 0.999 if known.get("quantization") == "int8" else 0.9999,
    }  # fmt: skip


def contents(path, runtime):
    """(type, bytes) by address."""
    known = json.dumps(facts(path)).encode()
    own = [file for file in PAGE.iterdir() if file.suffix in TYPES and not file.name.startswith("package")]
    files = {f"/{file.name}": file for file in own if file.is_file()}
    for kind in ("core/dist/index.js", "wasm-utils/dist/index.js", *(f"core/wasm/litert_wasm_{build}internal.{end}"
                 for build in ("", "compat_") for end in ("js", "wasm"))):  # fmt: skip
        files[f"/runtime/{kind}"] = runtime / kind
    found = {address: (TYPES[file.suffix], file.read_bytes()) for address, file in files.items()}
    core = "/runtime/core/dist/index.js"  # browsers know no names of packages
    code = found[core][1].replace(b'"@litertjs/wasm-utils"', b'"../../wasm-utils/dist/index.js"')
    found |= {core: (TYPES[".js"], code), "/": found["/index.html"], "/model.json": (TYPES[".json"], known)}
    return found | {"/model.tflite": (TYPES[".tflite"], path.read_bytes())}


def server(found, port):
    """A server of `contents` on this machine's own address. It refuses other names, which may be another site's."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version, server_version, sys_version = "HTTP/1.1", "keras_osnet", ""

        def do_GET(self):
            port = self.server.server_port  # clients leave out port 80
            ends = (f":{port}", "") if port == 80 else (f":{port}",)
            own = [name + end for name in ("127.0.0.1", "localhost") for end in ends]
            kind, content = found.get(self.path.partition("?")[0], (None, b"There is no such file."))
            status = 200 if kind else 404
            if self.headers.get("Host") not in own:
                status, kind, content = 403, None, b"Only 127.0.0.1 and localhost are served."
            self.send_response(status)
            headers = {"Content-Type": kind or "text/plain", "Content-Length": len(content)} | HEADERS
            for name, value in headers.items():
                self.send_header(name, str(value))
            try:
                self.end_headers()
                self.wfile.write(content)
            except ConnectionError:  # the browser does not want it any more
                self.close_connection = True

        def log_message(self, *_):
            pass

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise ValueError(f"`port` must be a free port. Received: port={port} ({error})") from error


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", metavar="FILE.tflite", help="default: the weights for people")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0: a free one")
    return parser.parse_args()


def main():
    options = arguments()
    if options.model and not options.model.is_file():
        raise FileNotFoundError(f"There is no file {options.model}")
    runtime, found = runtime_folder(), {}
    with server(found, options.port) as serving:  # before the work: the port may be taken
        fetch_runtime(runtime)
        found |= contents(options.model or people_file(), runtime)
        print(f"http://127.0.0.1:{serving.server_port} (Ctrl-C ends it)", flush=True)
        serving.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
