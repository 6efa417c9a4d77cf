"""The console command `keras-osnet`: runs a script of recipes/ or tflite/ by its name, or copies it to be edited."""

import argparse
import ast
import os
import runpy
import shutil
import sys
from pathlib import Path

# name -> the script, and what it is for. A wheel carries the scripts as files in keras_osnet/scripts.
SCRIPTS = {
    "reid": ("recipes/reid.py", "person re-identification: train, evaluate, check, extract, search"),
    "pa100k": ("recipes/pa100k.py", "attributes of people: train, evaluate, check"),
    "cifar": ("recipes/cifar.py", "CIFAR-10 and CIFAR-100: train, evaluate, check"),
    "imagenet": ("recipes/imagenet.py", "pre-training on ImageNet: train, evaluate, check"),
    "weights": ("recipes/weights.py", "trained weights by name: list, info, download, score"),
    "people": ("recipes/people.py", "a dataset of rendered people"),
    "people-weights": ("recipes/people_weights.py", "weights trained on rendered people only"),
    "adapt": ("recipes/adapt.py", "a network to your own cameras, without labels"),
    "label": ("recipes/label.py", "a page that asks about pairs of images while a network adapts"),
    "compare": ("recipes/compare.py", "several networks on several datasets, with intervals"),
    "ablation": ("recipes/ablation.py", "the paper's Tables 5 and 6, and parts of a training"),
    "report": ("recipes/report.py", "a page about a network on a test set"),
    "demo": ("recipes/demo.py", "a page that ranks a gallery for an image"),
    "cameras": ("recipes/cameras.py", "who is who in the videos of several cameras"),
    "convert": ("tflite/convert.py", "a network to TFLite, ONNX or OpenVINO, with a certificate"),
    "run": ("tflite/run.py", "features, galleries and videos with a TFLite file"),
    "benchmark": ("tflite/benchmark.py", "latency of TFLite files"),
    "web": ("tflite/web.py", "a page for a phone's browser that knows people by its camera"),
}
# The extra with what a script needs, where it is not `all`.
EXTRAS = {"people": "people", "people-weights": "people", "cameras": "cameras"}


def root():
    """Returns the folder that holds recipes/ and tflite/: of the wheel, or of the checkout."""
    here = Path(__file__).resolve().parent
    return here / "scripts" if (here / "scripts").is_dir() else here.parent


def parts_of(script):
    """Returns a script, the scripts that it imports, directly or not, and its page or folder, if any.

    A recipe may import scripts beside it and in tflite/.
    """
    found, waiting = [], [script]
    while waiting:
        path = waiting.pop()
        found.append(path)
        names = set()
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
        files = [
            folder / f"{name}.py" for name in sorted(names) for folder in (path.parent, path.parents[1] / "tflite")
        ]
        waiting += [file for file in dict.fromkeys(files) if file.exists() and file not in (*found, *waiting)]
    return found + [page for page in (script.with_suffix(".html"), script.with_suffix("")) if page.exists()]


def copy(script):
    """Copies a script, and what it imports of its folder, to the current folder. Files of an earlier copy are kept.

    Raises:
        FileExistsError: if another file of such a name is there. Nothing is copied.
    """
    new, others = [], []
    for part in parts_of(script):
        path = Path(part.name)
        if not os.path.lexists(path):
            new.append(part)
        elif not (part.is_file() and path.is_file() and path.read_bytes() == part.read_bytes()):
            others.append(part.name)
    if others:
        raise FileExistsError(f"Files of the current folder are not overwritten: {', '.join(others)}")
    for part in new:
        (shutil.copytree if part.is_dir() else shutil.copyfile)(part, part.name)
    print(f"Copied {', '.join(part.name for part in new) or 'nothing new'}. Run: python {script.name}")


def main():
    width = max(map(len, SCRIPTS))
    names = "\n".join(f"  {name:{width}s}  {purpose}" for name, (_, purpose) in SCRIPTS.items())
    parser = argparse.ArgumentParser(
        "keras-osnet",
        description=f"{__doc__}\n\nscripts:\n{names}\n\nkeras-osnet NAME --help describes the options of a script.\n"
        "keras-osnet copy NAME copies a script to the current folder, to be edited.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=[*SCRIPTS, "copy"], metavar="NAME", help="a script, or copy")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the script; after copy: the script's name")
    options = parser.parse_args()
    if options.name == "copy":
        if options.arguments in (["-h"], ["--help"]):
            return parser.print_help()
        if len(options.arguments) != 1 or options.arguments[0] not in SCRIPTS:
            parser.error(f"copy takes the name of a script: {', '.join(SCRIPTS)}")
        try:
            return copy(root() / SCRIPTS[options.arguments[0]][0])
        except OSError as error:
            sys.exit(f"error: {error}")
    script = root() / SCRIPTS[options.name][0]
    sys.argv = [str(script), *options.arguments]
    sys.path.insert(0, str(script.parent))  # as Python does for a script
    try:
        runpy.run_path(str(script), run_name="__main__")
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(options.name, "all")
        sys.exit(
            f"error: {options.name} needs {error.name}, which is not installed: pip install 'keras-osnet[{extra}]'"
        )


if __name__ == "__main__":
    main()
