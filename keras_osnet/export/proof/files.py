"""The two files of a certificate, FILE.json and FILE.html beside FILE.tflite."""

import html
import json
import re
from dataclasses import MISSING, asdict, fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import jinja2

from keras_osnet.export.proof.certificate import LABELS, Certificate
from keras_osnet.files import read_json, write_atomically

# Format of the JSON file. A key that is renamed or means something else raises it; a new key does not.
FORMAT = 2
# The name of the file in a page, which ends with this format's mark.
PAGE = re.compile(r'<p class="kicker">Certificate of a TFLite file</p>\s*<h1>(.*?)</h1>', re.DOTALL)


def write_certificate(certificate, path):
    """Writes a certificate beside its file, in place of an older one.

    Args:
        certificate: `Certificate`.
        path: the TFLite file.

    Returns:
        paths of the JSON file and of the page, which needs no other files.

    Raises:
        ValueError: as `certificate_paths`.
        OSError: if a file cannot be written.
    """
    data, page = certificate_paths(path)
    content = {"format": FORMAT, "verdict": certificate.verdict, **asdict(certificate)}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template("certificate.html.j2").render(certificate=certificate, labels=LABELS)
    write_atomically(data, json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")
    # File names need not be text: what is no character becomes a question mark.
    write_atomically(page, text.encode("utf-8", "replace"))
    return data, page


def read_certificate(path):
    """Reads the JSON file of a certificate, of this format or an older one.

    Raises:
        ValueError: if the file is not a certificate, is damaged, or has a newer format.
        OSError: if it cannot be read.
    """
    content = read_json(path)
    try:
        if content["format"] not in range(1, FORMAT + 1):
            raise ValueError(f"format {content['format']!r}, known are 1 .. {FORMAT}")
        return _decoded(Certificate, _of_format_1(content) if content["format"] == 1 else content, "certificate")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} must be a certificate. Received: {type(error).__name__}: {error}") from error


def certificate_paths(path):
    """Returns the paths of a TFLite file's certificate, FILE.json and FILE.html.

    Raises:
        ValueError: if one of them is not a certificate, as the best.json of a training, or belongs to another file.
    """
    name = Path(path).name
    paths = _beside(path)
    for file, owner in zip(paths, (_json_owner, _page_owner), strict=True):
        found = owner(file) if file.exists() else name
        if found != name:
            kind = f"is the certificate of {found}" if found else "is no certificate"
            raise ValueError(f"`path` must be another: its certificate would replace {file}, which {kind}")
    return paths


def withdraw(path):
    """Deletes the certificate beside a TFLite file that was written again. Other files are kept."""
    for file, owner in zip(_beside(path), (_json_owner, _page_owner), strict=True):
        if file.is_file() and owner(file) == Path(path).name:
            file.unlink(missing_ok=True)


def _beside(path):
    return Path(path).with_suffix(".json"), Path(path).with_suffix(".html")


def _json_owner(path):
    """Returns the name of the file that a certificate belongs to, or None for another JSON file."""
    try:
        return read_certificate(path).file.name
    except ValueError:
        return None


def _page_owner(path):
    with open(path, "rb") as file:
        found = PAGE.search(file.read(2**16).decode(errors="replace"))
    return html.unescape(found[1]) if found else None


def _of_format_1(content):
    """Returns the values of format 1 under the current keys: `pictures` is now `images`, and `held` is `main`."""
    layers, calibration, changed, dataset = (content[k] for k in ("layers", "calibration", "changed", "dataset"))
    counts = {key.replace("picture", "image"): count for key, count in dataset["counts"].items()}
    return content | {
        "layers": layers and layers | {"images": layers["pictures"]},
        "calibration": calibration and calibration | {"images": calibration["pictures"]},
        "changed": changed | {"unit": changed["unit"].replace("picture", "image")},
        "dataset": dataset | {"counts": counts},
        "scores": {name: score | {"main": score["held"]} for name, score in content["scores"].items()},
    }


def _decoded(kind, value, name):
    """Decodes a JSON value as a dataclass, a tuple or dict of one type, a plain value, or a union of these."""
    arguments, origin = get_args(kind), get_origin(kind)
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        missing = [f.name for f in fields(kind) if f.name not in value and f.default is MISSING]
        if missing:
            raise ValueError(f"{name} lacks {', '.join(missing)}")
        return kind(**{key: _decoded(hints[key], value[key], f"{name}.{key}") for key in hints if key in value})
    if origin is tuple and isinstance(value, list):
        return tuple(_decoded(arguments[0], item, f"{name}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _decoded(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    if arguments and origin not in (tuple, dict):
        fitting = [one for one in arguments if is_dataclass(one) == isinstance(value, dict) and _fits(one, value)]
        if fitting:
            return _decoded(fitting[0], value, name)
    elif not is_dataclass(kind) and _fits(kind, value):
        return float(value) if kind is float else value
    raise ValueError(f"{name} must be {getattr(kind, '__name__', kind)}. Received: {str(value)[:80]!r}")


def _fits(kind, value):
    if kind is float:
        return type(value) in (int, float) and isfinite(value)
    return is_dataclass(kind) or type(value) is kind
