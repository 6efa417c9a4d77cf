"""The report's figures as PNG files."""

import numpy as np

from keras_osnet.report.thumbnails import read_picture
from keras_osnet.visual import figures

NAMES = ("triplets", "ranking", "activations", "gates", "exponents", "features", "attributes", "cmc", "roc",
         "distances", "training")  # fmt: skip
SIZE = 128, 64
RANKED, DPI = 8, 120  # as many queries as fit on a page of a paper


def save_figures(folder, panels, subject, scores, history, attributes, names):
    """Writes a PNG for each panel that has something to show, in place of those of an earlier report.

    Args:
        folder: made if need be.
        panels: `Panels`.
        subject: `Subject` that they belong to.
        scores: `Scores`.
        history: lines of metrics.jsonl.
        attributes: as for `write_report`.
        names: of the network, and of the one it is compared with.

    Returns:
        paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / f"{name}.png").unlink(missing_ok=True)
    paths = []
    for name, figure in _figures(panels, subject, scores, history, attributes, names):
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=DPI, pil_kwargs={"compress_level": 3})  # the usual 6 takes longer
    return paths


def _figures(panels, subject, scores, history, attributes, names):
    """Yields (name, figure), so that one at a time is in memory."""

    def pictures(rows):
        read = (read_picture(subject.records[row].path, SIZE) for row in rows)
        return [np.full((*SIZE, 3), 128, np.uint8) if picture is None else picture for picture in read]

    queries, ranking = subject.queries, panels.ranking
    if panels.triplets:
        found = panels.triplets
        rows = found.query, found.match + queries, found.impostor + queries
        distances = np.stack([found.match_distance, found.impostor_distance], axis=1)
        yield "triplets", figures.triplets_figure(*map(pictures, rows), distances)
    rows = [row for row, *_ in panels.ranked[:RANKED]]
    yield (
        "ranking",
        figures.ranking_figure(
            pictures(rows),
            [pictures(ranking.indices[row] + queries) for row in rows],
            ranking.kinds[rows],
            ranking.distances[rows],
            ["no match" if np.isnan(ap) else f"AP {ap:.2f}" for ap in ranking.average_precision[rows]],
        ),
    )
    if panels.activations:
        heated = [pictures for _, _, pictures in panels.activations]
        maps = [[pair[number][1] for pair in heated] for number in range(len(names))]
        seen = [pair[0][0] for pair in heated]
        options = {"other": np.array(maps[1]), "names": tuple(names)} if len(names) > 1 else {}
        yield "activations", figures.activations_figure(seen, np.array(maps[0]), **options)
    if not isinstance(panels.gates, str):
        found, shown = panels.gates["clusters"], panels.gates["rows"]
        nearest = [pictures(shown[rows[rows >= 0]]) for rows in found.nearest]
        yield "gates", figures.gates_figure(nearest, found)
        yield "exponents", figures.exponents_figure(panels.gates["blocks"])
    rows, points = panels.mapped
    if len(rows):
        yield "features", figures.feature_map_figure(points, subject.identities[rows])
    if not isinstance(panels.attributes, str):
        chosen = [row for row, _ in panels.attributes]
        titles, probabilities, labels = attributes
        likely = np.asarray(probabilities)[chosen], np.asarray(labels)[chosen]
        yield "attributes", figures.attributes_figure(pictures(chosen), titles, *likely)
    if scores.retrieval is not None:
        yield "cmc", figures.cmc_figure({names[0]: scores.retrieval.cmc})
    if scores.verification is not None:
        threshold = scores.operating_point[2]
        yield "roc", figures.roc_figure(scores.verification)
        yield "distances", figures.distances_figure(scores.pairs, threshold if np.isfinite(threshold) else None)
    if history:
        yield "training", figures.training_figure(history)
