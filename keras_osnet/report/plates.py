"""The report's figures as PNG files."""

import numpy as np

from keras_osnet.report.panels import Gates
from keras_osnet.report.thumbnails import read_image
from keras_osnet.visual import figures

NAMES = ("triplets", "ranking", "activations", "gates", "exponents", "features", "attributes", "cmc", "roc",
         "distances", "training")  # fmt: skip
SIZE = 128, 64
RANKED = 8  # queries that fit on a page of a paper
PNG = {"dpi": 120, "pil_kwargs": {"compress_level": 3}}  # the usual level 6 takes longer


def save_figures(folder, drawn):
    """Writes figures as PNG files, and removes the figures of an earlier report.

    Args:
        folder: folder to write to, created if it does not exist.
        drawn: iterable of (one of `NAMES`, figure). One figure at a time is in memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / f"{name}.png").unlink(missing_ok=True)
    for name, figure in drawn:
        figure.savefig(folder / f"{name}.png", **PNG)


def save_map(folder, mapped, tests):
    """Writes the map of the features, rows and points. It leaves out distractors, which are not one person."""
    rows, points = mapped
    people = ~tests.distractors[rows]
    if people.any():
        figures.feature_map_figure(points[people], tests.identities[rows][people]).savefig(
            folder / "features.png", **PNG
        )


def figures_of(panels, tests, attributes, names, history):
    """Yields (name, figure) of each panel that is not empty.

    Args:
        panels: `Panels`.
        tests: `TestSet` of the panels.
        attributes: as for `write_report`.
        names: names of the network and of the second network.
        history: lines of metrics.jsonl.
    """

    def images(rows):
        read = (read_image(tests.records[row].path, SIZE) for row in rows)
        return [np.full((*SIZE, 3), 128, np.uint8) if image is None else image for image in read]

    queries, ranking, found = tests.queries, panels.ranking, panels.triplets
    if len(found.query):
        rows = found.query, found.match + queries, found.impostor + queries
        distances = np.stack([found.match_distance, found.impostor_distance], axis=1)
        yield "triplets", figures.triplets_figure(*map(images, rows), distances)
    rows = [row for row, *_ in panels.listed[:RANKED]]
    gallery = [images(ranking.indices[row] + queries) for row in rows]
    titles = ["no match" if np.isnan(ap) else f"AP {ap:.2f}" for ap in ranking.average_precision[rows]]
    yield "ranking", figures.ranking_figure(images(rows), gallery, ranking.kinds[rows], ranking.distances[rows], titles)
    if panels.activations:
        _, _, seen, maps = zip(*panels.activations, strict=True)
        maps = [np.array(of_network) for of_network in zip(*maps, strict=True)]
        options = {"names": tuple(names)} if len(names) > 1 else {}
        yield "activations", figures.activations_figure(seen, *maps, **options)
    if isinstance(panels.gates, Gates):
        nearest = [images(panels.gates.rows[rows[rows >= 0]]) for rows in panels.gates.clusters.nearest]
        yield "gates", figures.gates_figure(nearest, panels.gates.clusters, panels.gates.exponents)
        yield "exponents", figures.exponents_figure(panels.gates.blocks, panels.gates.exponents)
    if not isinstance(panels.attributes, str):
        chosen = [row for row, _ in panels.attributes]
        titles, probabilities, labels = attributes
        chosen_values = np.asarray(probabilities)[chosen], np.asarray(labels)[chosen]
        yield "attributes", figures.attributes_figure(images(chosen), titles, *chosen_values)
    if figures.training_panels(history):
        yield "training", figures.training_figure(history)
