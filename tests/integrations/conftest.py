"""A network, and frames as OpenCV reads them, for every test of an encoder."""

import numpy as np
import pytest
from PIL import Image

keras = pytest.importorskip("keras")

from keras_osnet import FeatureExtractor, OSNet  # noqa: E402
from tests.inference.networks import with_lively_weights  # noqa: E402

SIZE = (64, 32)


@pytest.fixture(scope="session")
def network():
    keras.utils.set_random_seed(0)
    return with_lively_weights(OSNet(width=0.25, variant="osnet_t2", input_shape=(*SIZE, 3), depths=(1, 1, 1)))


@pytest.fixture(scope="session")
def extractor(network):
    return FeatureExtractor(network)


@pytest.fixture(scope="session")
def person():
    """Function of a number that returns an image of the network's size, (64, 32, 3) RGB, another for each number."""

    def draw(number):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 3, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(coarse).resize(SIZE[::-1], Image.BICUBIC))

    return draw


@pytest.fixture(scope="session")
def frame_of(person):
    """Function of {(left, top): number of a person} that returns a frame, (150, 220, 3) BGR."""

    def draw(people):
        frame = np.full((150, 220, 3), 90, np.uint8)
        for (left, top), number in people.items():
            frame[top : top + SIZE[0], left : left + SIZE[1]] = person(number)[:, :, ::-1]
        return frame

    return draw


@pytest.fixture(scope="session")
def expected(network, person):
    """Function of numbers of people that returns their features of length 1, computed one image at a time."""

    def features(*numbers):
        rows = []
        for number in numbers:
            x = (person(number) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
            row = keras.ops.convert_to_numpy(network(x[None].astype("float32"), training=False))[0]
            rows.append(row / np.sqrt((row.astype(float) ** 2).sum()))
        return np.array(rows)

    return features
