"""How every kind of file that the project reads is made, and by which function users read it: one row each.

TensorFlow and Keras are imported inside the functions: a reader without them then starts at once. `HEAVY` names the
rows that need them.
"""

import json
import os
import pickle
import shutil
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tflite")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class Reader(NamedTuple):
    """`make` writes a small valid file into a folder and returns its path; `read` reads the file."""

    make: Callable[[Path], Path]
    read: Callable[[Path], object]


# Weights


@cache
def small_network():
    import keras_osnet

    return keras_osnet.OSNet(0.25, input_shape=(32, 16, 3), depths=(1, 1, 1), classes=3)


def make_torch(form, folder):
    from tests.weights.checkpoints import small_state, write_checkpoint

    return write_checkpoint(folder / "network.pth", small_state(), form, wrapper="state_dict")


def make_keras(folder):
    small_network().save(folder / "network.keras")
    return folder / "network.keras"


def make_h5(folder):
    small_network().save_weights(folder / "network.weights.h5")
    return folder / "network.weights.h5"


def make_safetensors(folder):
    from safetensors.numpy import save_file

    from tests.weights.checkpoints import small_state

    save_file(small_state(), folder / "network.safetensors")
    return folder / "network.safetensors"


def make_onnx(folder):
    from tests.weights.checkpoints import small_state
    from tests.weights.onnx_files import write_onnx

    return write_onnx(folder / "network.onnx", small_state(), (64, 32))


def make_preset(folder):
    from keras_osnet import OSNet

    OSNet(0.25, input_shape=(32, 16, 3), depths=(1, 1, 1)).save_to_preset(folder / "preset")
    return folder / "preset" / "config.json"


def read_torch(path):
    from keras_osnet.weights import read_torch_file

    return read_torch_file(path)


def read_any(path):
    from keras_osnet.weights import load_network

    return load_network(path)


def read_h5(path):
    from keras_osnet.weights import load_weights

    return load_weights(small_network(), path)


def make_tflite(folder):
    from keras_osnet import OSNet
    from keras_osnet.export import to_tflite

    network = OSNet(0.25, input_shape=(32, 16, 3), depths=(1, 1, 1), feature_dim=8)
    return to_tflite(network, folder / "osnet.tflite").path


def read_tflite(path):
    from network import Network

    from keras_osnet.export import metadata_of, run_tflite
    from keras_osnet.export.flatbuffer import ops_of

    image = np.ones((1, 32, 16, 3), np.float32)
    return each(path, lambda path: Network(path).run(image), lambda path: run_tflite(path, image), metadata_of, ops_of)


def each(path, *functions):
    """Reads a file in several ways: a ValueError of one does not spare the others."""
    errors = []
    for read in functions:
        try:
            read(path)
        except ValueError as error:
            errors.append(error)
    if errors:
        raise errors[0]


# What trainings, certificates and galleries keep


def make_checkpoint(folder):
    from tests.training.small import run

    run(folder, epochs=1)
    return folder / "checkpoint.npz"


def read_checkpoint(path):
    import tensorflow as tf

    from keras_osnet.training.checkpoints import Checkpoint
    from tests.training.small import STEPS

    model, optimizer = trained()
    return Checkpoint(path, model, optimizer, tf.distribute.get_strategy(), STEPS).restore(epochs=1)


@cache
def trained():
    from keras_osnet.optimizers import SGD
    from tests.training.small import small

    model, optimizer = small(), SGD(0.01)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def make_history(folder):
    make_checkpoint(folder)
    return folder / "metrics.jsonl"


def read_history(path):
    """Resumes a finished run, which reads its history."""
    from tests.training.small import run

    model, optimizer = trained()
    with warnings.catch_warnings(action="ignore"):  # of damaged lines
        return run(path.parent, model, optimizer=optimizer, epochs=1)


def make_config(folder):
    (folder / "config.json").write_text(json.dumps({"settings": {"dataset": "own", "width": 1.0}, "command": "x"}))
    return folder / "config.json"


def read_config(path):
    from keras_osnet.training.work_dir import check_settings

    return check_settings(path.parent, {"dataset": "own", "width": 1.0})


def make_best(folder):
    (folder / "best.json").write_text(json.dumps({"epoch": 3, "mAP": 0.5}))
    return folder / "best.json"


def read_best(path):
    from keras_osnet.training.callbacks import KeepBest

    return KeepBest(path.with_suffix(".keras"), None, "mAP", strategy=None).recorded()


def make_certificate(folder):
    from keras_osnet.export import write_certificate
    from tests.export.proof.test_certificate import example

    return write_certificate(example(), folder / "osnet.tflite")[0]


def read_certificate(path):
    from keras_osnet.export import read_certificate

    return read_certificate(path).refusal


def make_camera_means(folder):
    from keras_osnet.adaptation.cameras import CameraNormalizer

    features = np.random.default_rng(0).normal(size=(6, 4))
    CameraNormalizer().fit(features, [1, "door", 2, "door", 1, None]).save(folder / "means.json")
    return folder / "means.json"


def read_camera_means(path):
    from cameras import CameraMeans

    from keras_osnet.adaptation.cameras import CameraNormalizer

    return each(
        path,
        lambda path: CameraNormalizer.load(path).transform(np.ones((2, 4)), [1, "other"]),
        lambda path: CameraMeans(path).remove(np.ones((2, 4)), "door"),
    )


def make_answers(folder):
    from keras_osnet.adaptation.answers import write_answers

    write_answers(folder / "answers.csv", [("a.jpg", "b.jpg", True), ("a.jpg", "c.jpg", False), ("d", "e", None)])
    return folder / "answers.csv"


def read_answers(path):
    from keras_osnet.adaptation.answers import links_of, read_answers

    return links_of(read_answers(path))


def make_pairs(folder):
    from keras_osnet.adaptation.answers import write_pairs

    (folder / "rounds" / "1").mkdir(parents=True)
    write_pairs(folder / "rounds" / "1", [[{"path": name, "camera": 1} for name in pair] for pair in ("ab", "cd")])
    return folder / "rounds" / "1" / "pairs.json"


def read_pairs(path):
    from keras_osnet.adaptation.answers import newest_pairs, unanswered

    return unanswered(newest_pairs(path.parents[2])[1], [("a", "b", True)])


def make_people_gallery(folder):
    """A gallery that remembers, of one feature, so that changes reach more than features."""
    with open_people_gallery(folder / "people.gallery") as gallery:
        gallery.add(np.eye(8)[:1], ["Ann"], ["door"], [1.0], [b"image"])
    return folder / "people.gallery"


def open_people_gallery(path):
    from keras_osnet.identities.gallery import Gallery

    return Gallery.open(path, network="osnet", fingerprint="ab" * 32, dimension=8)


def read_people_gallery(path):
    """Opens, reads, changes and exports a gallery. A repaired journal is no part of it."""
    for name in (f"{path.name}-journal", "exported.npz"):
        path.with_name(name).unlink(missing_ok=True)
    with open_people_gallery(path) as gallery:
        each(
            gallery,
            lambda gallery: gallery.search(np.ones((2, 8)), 2, after=0.0),
            lambda gallery: [gallery.image(match.id) for match in gallery.search(np.ones((1, 8)))[0]],
            lambda gallery: gallery.export_file(path.with_name("exported.npz")),
            lambda gallery: gallery.add(np.eye(8)[1:2], ["Bob"], ["door"], [2.0]),
            lambda gallery: [gallery.delete(name) for name in gallery.identities()],
        )


def make_exported_gallery(folder):
    with open_people_gallery(folder / "people.gallery") as gallery:
        gallery.add(np.eye(8)[:3], ["Ann", "Ann", "Bob"], ["door"] * 3, [1.0] * 3)
        gallery.export_file(folder / "people.npz")
    return folder / "people.npz"


def read_exported_gallery(path):
    """Imports the gallery of a phone whose SHA-256 fits."""
    body = path.read_bytes()[:-64]
    path.write_bytes(body + sha256(body).hexdigest().encode())
    with open_people_gallery(path.with_name("people.gallery")) as gallery:
        return gallery.import_file(path, camera="phone", time=1.0)


def make_gallery(folder):
    from gallery import Gallery

    gallery = Gallery(folder / "people.npz", "ab" * 32, "osnet.tflite")
    gallery.append(["Ann", "Ann", "Bob"], np.random.default_rng(0).normal(size=(3, 8)))
    gallery.save()
    return gallery.path


def read_gallery(path):
    """Reads a gallery whose SHA-256 fits, so that changes reach what it protects."""
    from gallery import Gallery

    body = path.read_bytes()[:-64]
    path.write_bytes(body + sha256(body).hexdigest().encode())
    return Gallery.load(path, "ab" * 32).search(np.ones(8), 2)


# Images


def make_image(suffix, folder, mode="RGB", **options):
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 7, 3), dtype=np.uint8))
    small.resize((45, 61)).convert(mode).save(folder / f"image.{suffix}", **options)
    return folder / f"image.{suffix}"


def turned():
    exif = Image.Exif()
    exif[0x112] = 6
    return exif


def read_image(path):
    """Reads an image as the package does and as run.py does: both refuse it, or both read the same levels."""
    import network

    from keras_osnet.data import images

    same(path, images.read, network.read)


def read_image_in_pipeline(path):
    """Reads an image in a tf.data pipeline: refused, or the same levels as the package reads elsewhere."""
    import tensorflow as tf

    from keras_osnet.data import images

    def in_pipeline(path):
        with images.naming_unreadable([str(path)]):
            return decoded(tf.io.read_file(str(path)), str(path)).numpy()

    signature = (tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.string))
    decoded = in_graph(images.decode_tensor, signature)
    levels = in_pipeline(path)
    same(path, images.read, lambda path: levels)


@cache
def in_graph(function, signature):
    import tensorflow as tf

    return tf.function(function, input_signature=signature, autograph=False)


def same(path, *doors):
    found, errors = [], []
    for read in doors:
        try:
            found.append(np.asarray(read(path)))
        except ValueError as error:
            errors.append(error)
    if found and (errors or not np.array_equal(*found)):
        raise AssertionError(f"one door reads {path} and the other {errors or 'other levels'}")
    if errors:
        raise errors[0]


# Datasets


def make_matlab(folder):
    from tests.data.datasets.test_pa100k import official

    return official(folder) / "PA-100K" / "annotation.mat"


def read_matlab(path):
    from keras_osnet.data import load_attributes

    return load_attributes("pa100k", path.parents[1])


def make_matlab_hdf5(folder):
    from keras_osnet.data.datasets.cuhk03 import MAT
    from tests.data.datasets.test_cuhk03 import write_mat

    write_mat(folder / MAT)
    return folder / MAT


def read_matlab_hdf5(path):
    from keras_osnet.data.datasets import cuhk03

    shutil.rmtree(path.parents[1] / "pictures", ignore_errors=True)
    return cuhk03.load_classic(path.parents[2], 3)


def make_cifar_binary(folder):
    from tests.data.datasets.test_cifar import binary

    binary(folder, "cifar10")
    return folder / "cifar-10-batches-bin" / "data_batch_1.bin"


def make_cifar_python(folder):
    from tests.data.datasets.test_cifar import python

    python(folder, "cifar10")
    path = folder / "cifar-10-batches-py" / "data_batch_1"
    batch = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({key: value[:1] for key, value in batch.items()}, protocol=2))
    return path


def read_cifar(path):
    from keras_osnet.data.datasets import cifar

    return cifar.load("cifar10", path.parents[1])


def make_csv(folder):
    rows = [f"{i}.jpg,{name},{camera}" for i, (name, camera) in enumerate((n, c) for n in "abcd" for c in (1, 2))]
    for i in range(len(rows)):
        (folder / f"{i}.jpg").touch()
    (folder / "list.csv").write_text("\n".join(["path,identity,camera", *rows]) + "\n")
    return folder / "list.csv"


def read_csv(path):
    from keras_osnet.data import load

    return load("csv", path)


def make_people(folder):
    """A set of rendered people without its images' pixels: the table of labels is read."""
    from keras_osnet.data.datasets.people import COLUMNS, FOLDER, SPLITS

    (folder / FOLDER).mkdir()
    (folder / FOLDER / "settings.json").write_text('{"complete": true}')
    rows = [",".join((*COLUMNS, "hat", "bag"))]
    for split in SPLITS:
        (folder / FOLDER / split).mkdir()
        for person in (1, 2):
            name = f"{person:06d}_c001s1_0000000_00.jpg"
            (folder / FOLDER / split / name).touch()
            rows.append(",".join((f"{split}/{name}", *("1" for _ in COLUMNS[1:]), "0", "1")))
    (folder / FOLDER / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / FOLDER / "labels.csv"


def make_people_settings(folder):
    return make_people(folder).with_name("settings.json")


def read_people(path):
    from keras_osnet.data.datasets import people

    return people.load(path.parents[1])


def make_msmt17(folder):
    from tests.data.datasets.test_msmt17 import official

    official(folder)
    return next(folder.rglob("list_train.txt"))


def read_msmt17(path):
    from keras_osnet.data.datasets import msmt17

    return msmt17.load(path.parents[1])


def make_records(folder):
    """A dataset of images in classes, as tensorflow-datasets prepares it: the one file of its training split."""
    import tensorflow_datasets as tfds

    from tests.data.datasets.test_prepared import CLASSES, examples

    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=CLASSES),
        "name": tfds.features.Text(),
    }
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        "drawn", "1.0.0", tfds.features.FeaturesDict(features),
        {split: list(examples(tfds, split)) for split in ("train", "validation")}, data_dir=folder,
    )  # fmt: skip
    return next(Path(builder.data_path).glob("*train*"))


def make_dataset_info(folder):
    return make_records(folder).with_name("dataset_info.json")


def read_records(path):
    from keras_osnet.data import resized_crops
    from keras_osnet.data.datasets import prepared

    train, _ = prepared.load(path.parent)
    with train.naming_unreadable():
        for _ in resized_crops.central_batches(train, size=(16, 16), batch_size=8):
            pass


# Boxes


def make_boxes(folder):
    rows = [f"{frame},{10 * frame},5,{10 * frame + 20},45,{track}" for frame in (1, 2, 3) for track in "ab"]
    (folder / "boxes.csv").write_text("\n".join(["frame,left,top,right,bottom,track", *rows]) + "\n")
    return folder / "boxes.csv"


def make_mot(folder):
    rows = [f"{frame},{track},{10 * frame},5,20,40,1,1,0.9" for frame in (1, 2, 3) for track in (1, 2)]
    (folder / "gt.txt").write_text("\n".join(rows) + "\n")
    return folder / "gt.txt"


def read_boxes(path):
    from boxes import read_boxes

    boxes, _ = read_boxes(path)
    return [box.pixels(1920, 1080) for of_frame in boxes.values() for box in of_frame]


IMAGES = {
    "jpeg": partial(make_image, "jpg"),
    "jpeg turned": lambda folder: make_image("jpg", folder, exif=turned()),
    "jpeg progressive": lambda folder: make_image("jpg", folder, progressive=True),
    "jpeg cmyk": lambda folder: make_image("jpg", folder, "CMYK"),
    "png": partial(make_image, "png"),
    "png 16 bits": lambda folder: make_image("png", folder, "I;16"),
    "bmp": partial(make_image, "bmp"),
    "bmp palette": lambda folder: make_image("bmp", folder, "P"),
    "webp": partial(make_image, "webp"),
    "tiff": partial(make_image, "tiff"),
    "tiff lzw": lambda folder: make_image("tiff", folder, compression="tiff_lzw"),
    "gif": partial(make_image, "gif"),
    "ppm": partial(make_image, "ppm"),
}
READERS = {
    **{name: Reader(make, read_image) for name, make in IMAGES.items()},
    "gallery": Reader(make_gallery, read_gallery),
    "camera means": Reader(make_camera_means, read_camera_means),
    "people gallery": Reader(make_people_gallery, read_people_gallery),
    "exported gallery": Reader(make_exported_gallery, read_exported_gallery),
    "matlab": Reader(make_matlab, read_matlab),
    "matlab hdf5": Reader(make_matlab_hdf5, read_matlab_hdf5),
    "cifar binary": Reader(make_cifar_binary, read_cifar),
    "cifar python": Reader(make_cifar_python, read_cifar),
    "csv": Reader(make_csv, read_csv),
    "people labels": Reader(make_people, read_people),
    "people settings": Reader(make_people_settings, read_people),
    "msmt17 list": Reader(make_msmt17, read_msmt17),
    "boxes": Reader(make_boxes, read_boxes),
    "mot": Reader(make_mot, read_boxes),
    "torch zip": Reader(partial(make_torch, "zip"), read_torch),
    "torch bare": Reader(partial(make_torch, "older"), read_torch),
    "keras": Reader(make_keras, read_any),
    "answers": Reader(make_answers, read_answers),
    "pairs": Reader(make_pairs, read_pairs),
    "h5": Reader(make_h5, read_h5),
    "safetensors": Reader(make_safetensors, read_any),
    "onnx": Reader(make_onnx, read_any),
    "preset": Reader(make_preset, lambda path: read_any(path.parent)),
    "tflite": Reader(make_tflite, read_tflite),
    "checkpoint": Reader(make_checkpoint, read_checkpoint),
    "history": Reader(make_history, read_history),
    "config": Reader(make_config, read_config),
    "best": Reader(make_best, read_best),
    "certificate": Reader(make_certificate, read_certificate),
    "records": Reader(make_records, read_records),
    "dataset info": Reader(make_dataset_info, read_records),
    **{f"{name} in a pipeline": Reader(IMAGES[name], read_image_in_pipeline) for name in ("jpeg", "png")},
}
NAMES = list(READERS)
HEAVY = NAMES[NAMES.index("keras") :]  # Keras and TensorFlow take seconds to import
NEEDS = {"matlab": "scipy", "onnx": "onnx", "records": "tensorflow_datasets", "dataset info": "tensorflow_datasets"}
