"""The page about clusters of unlabelled images."""

import re

import numpy as np
import pytest
from PIL import Image

from keras_osnet.adaptation.settings import State
from keras_osnet.report.clusters import CLUSTERS, write_clusters

STATES = [
    State(0, 64, 0.5, 2, 0.7, 0.4, 0.25),
    State(1, 64, 0.45, 3, 0.8, 0.3, 0.5, agreement=0.75),
]


def images(folder, count):
    paths = [str(folder / f"p{number}.png") for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (5, 9), (number % 256, 80, 120)).save(path)
    return paths


def shown(page):
    """For each section its clusters, as lists of the names of images."""
    sections = re.findall(r'<section id="(\w+)".*?</section>', page, re.DOTALL)
    texts = re.findall(r"<section .*?</section>", page, re.DOTALL)
    cards = [[re.findall(r'title="[^"]*?(p\d+)\.png', card) for card in text.split('class="card"')] for text in texts]
    return dict(zip(sections, cards, strict=True))


def test_clusters_come_by_their_silhouette_and_images_too(tmp_path):
    paths = images(tmp_path, 10)
    labels = [0, 0, 0, 1, 1, 1, 2, 2, -1, -1]
    silhouettes = [0.9, 0.7, 0.8, 0.1, 0.3, 0.2, 0.5, 0.4, 0, 0]
    path = write_clusters(tmp_path, STATES, STATES[1], labels, silhouettes, paths, ["door"] * 9 + [None])
    found = shown(path.read_text())
    assert found["uncertain"][1:] == [["p3", "p5", "p4"], ["p7", "p6"], ["p1", "p2", "p0"]]
    assert found["outside"] == [["p8", "p9"]]
    assert "large" not in found  # all three clusters are among the least certain
    page = path.read_text()
    assert 'alt="' + tmp_path.name + '/p3.png, camera door"' in page
    assert 'alt="' + tmp_path.name + '/p9.png"' in page


@pytest.mark.parametrize("distilled", [False, True])
def test_the_page_says_why_its_network_is_the_saved_one(tmp_path, distilled):
    states = [*STATES, State(2, 64, 0.5, 3, 0.8, 0.3, 0.4, agreement=0.8, distilled=True)]
    labels, best = [0, 0, 1, 1], states[1 + distilled]
    page = write_clusters(tmp_path, states, best, labels, [0.5] * 4, images(tmp_path, 4), [None] * 4).read_text()
    assert ("round with the highest silhouette" in page) != distilled
    assert ("that of the last training" in page) == distilled


def test_each_cluster_is_in_one_group_and_the_largest_are_named(tmp_path):
    paths = images(tmp_path, 3 * CLUSTERS * 2 + 7)
    labels = np.concatenate([np.repeat(np.arange(3 * CLUSTERS), 2), [3 * CLUSTERS] * 7])
    silhouettes = labels / (4 * CLUSTERS)  # the largest cluster is the most certain
    page = write_clusters(tmp_path, STATES, STATES[1], labels, silhouettes, paths, [None] * len(paths)).read_text()
    found = shown(page)
    first = {name: [int(card[0][1:]) // 2 for card in cards[1:]] for name, cards in found.items() if len(cards) > 1}
    assert first["uncertain"] == list(range(CLUSTERS))
    assert first["large"][0] == 3 * CLUSTERS
    assert [len(clusters) for clusters in first.values()] == [CLUSTERS] * 3
    assert len({label for labels in first.values() for label in labels}) == 3 * CLUSTERS
    assert "Every image is in a cluster." in page


def test_names_are_escaped_and_unreadable_files_named(tmp_path):
    paths = images(tmp_path, 2)
    odd = tmp_path / "<b>p7.png"
    Image.new("RGB", (5, 9)).save(odd)
    paths += [str(odd), str(tmp_path / "gone.png")]
    page = write_clusters(tmp_path, STATES, STATES[1], [0] * 4, [0.5] * 4, paths, ["<i>"] * 4, ended="<u>").read_text()
    assert not re.search("<b>|<i>|<u>", page)
    assert "&lt;b&gt;p7.png, camera &lt;i&gt;" in page
    assert re.search(r'<div class="gone"[^>]*>[^<]*gone\.png</div>', page)
    assert "The adaptation ended early: &lt;u&gt;." in page


def test_a_page_without_clusters_says_so(tmp_path):
    paths = images(tmp_path, 3)
    page = write_clusters(tmp_path, STATES[:1], STATES[0], [-1] * 3, [0] * 3, paths, [None] * 3).read_text()
    assert shown(page)["outside"] == [["p0", "p1", "p2"]]


def test_what_does_not_fit_and_foreign_pages_are_refused(tmp_path):
    paths = images(tmp_path, 2)
    with pytest.raises(ValueError, match=r"must be of the same images\. Received: 1, 2, 2 and 2"):
        write_clusters(tmp_path, STATES, STATES[0], [0], [0, 0], paths, [None] * 2)
    (tmp_path / "clusters.html").write_text("mine")
    with pytest.raises(ValueError, match="must be new, or written by this command before"):
        write_clusters(tmp_path, STATES, STATES[0], [0, 0], [0, 0], paths, [None] * 2)
    assert (tmp_path / "clusters.html").read_text() == "mine"
