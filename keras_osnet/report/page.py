"""The HTML page of the report."""

from pathlib import Path

import jinja2
import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from keras_osnet.report.panels import QUERIES, Gates, exponent_names
from keras_osnet.report.thumbnails import as_jpeg, thumbnails
from keras_osnet.visual.gates import overlay
from keras_osnet.visual.marks import MARKS

TEMPLATES = Path(__file__).parent / "templates"
CONTENTS = {
    "triplets": "Hard triplets",
    "ranking": "Rankings",
    "activations": "Activation maps",
    "gates": "Gates",
    "features": "Map of the features",
    "attributes": "Attributes",
    "curves": "Curves",
    "numbers": "Numbers",
}
GROUPS = {
    "hardest": "The hardest queries, by average precision",
    "middle": "In the middle",
    "easiest": "The easiest",
    "some": "Some queries",
}
DISTANCES = {"euclidean": "Euclidean", "cosine": "1 − cosine"}
# Pixels of the longer side of a thumbnail. More than MANY images are smaller, so that the page has at most about 10 MB.
SIDE, MANY, SMALL_SIDE = 96, 5000, 64


def render(panels, mapped, tests, texts, scores, training):
    """Returns the page as HTML.

    Args:
        panels: `Panels`.
        mapped: rows and points of the map of the features.
        tests: `TestSet` of these rows.
        texts: dict of further texts of the template.
        scores, training: as `curves_of` returns them.
    """
    rows = sorted({*panels.rows(tests.queries), *mapped[0].tolist()})
    encoded = thumbnails([tests.records[row].path for row in rows], SIDE if len(rows) <= MANY else SMALL_SIDE)
    about = {row: _about(row, tests) for row in rows}
    drawn, activations = _activations(panels)
    data = {
        "images": {
            row: [*(about[row][key] for key in ("name", "person", "camera", "part")), content]
            for row, content in zip(rows, encoded, strict=True)
        },
        "drawn": drawn,
        "kinds": [(name.split()[0], mark.sign, name) for name, mark in MARKS.items()],
        "ranking": panels.listed,
        "map": [[int(row), round(float(x), 4), round(float(y), 4)] for row, (x, y) in zip(*mapped, strict=True)],
    }
    return environment().get_template("report.html.j2").render(
        **texts,
        data=htmlsafe_json_dumps(data, separators=(",", ":"), allow_nan=False),
        about=about,
        activations=activations,
        attributes=_said(panels.attributes) | {"rows": panels.attributes},
        contents=CONTENTS,
        curves=_svg(scores),
        distance=DISTANCES[tests.metric],
        gates=_gates(panels.gates),
        group_titles=GROUPS,
        limited=_limited(len(panels.listed), tests.queries),
        lost=_lost(sum(content is None for content in encoded), len(rows)),
        map=_map(mapped[0], tests, about),
        top=tests.top,
        training=_svg(training),
        triplets=_triplets(panels.triplets, tests.queries),
    )  # fmt: skip


def environment():
    """Returns the environment of the templates, which escapes values."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _about(row, tests):
    record = tests.records[row]
    person = "distractor" if tests.distractors[row] else f"person {record.identity}"
    return {
        "name": "/".join(Path(record.path).parts[-2:]),
        "person": person,
        "camera": record.camera,
        "part": "query" if row < tests.queries else "gallery",
        "who": person if record.camera is None else f"{person}, camera {record.camera}",
    }


def _lost(lost, shown):
    if not lost:
        return ""
    return (
        f"{lost} of the {shown} images on this page cannot be read (moved, deleted or damaged). Frames with the names "
        "of the files replace them."
    )


def _limited(shown, queries):
    if shown == queries:
        return ""
    return (
        f"This page has {shown:,} of the {queries:,} queries: the {QUERIES // 2} with the lowest average precision, "
        "and others spread evenly over the rest."
    )


def _triplets(found, queries):
    """Returns [(query, match, impostor, distance of the match, distance of the impostor), ...]. Images are rows."""
    rows = found.query, found.match + queries, found.impostor + queries
    columns = (*rows, found.match_distance, found.impostor_distance)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _activations(panels):
    """Returns the encoded images with activation maps, and the entries of the template."""
    drawn, entries = [], {}
    for group, row, image, maps in panels.activations:
        precision = panels.ranking.average_precision[row]
        entries.setdefault(group, []).append(
            {
                "row": row,
                "drawn": list(range(len(drawn), len(drawn) + len(maps))),
                "precision": None if np.isnan(precision) else float(precision),
            }
        )
        drawn += [as_jpeg(overlay(image, each), quality=80) for each in maps]
    return drawn, entries


def _said(panel):
    return {"says": panel if isinstance(panel, str) else ""}


def _gates(gates):
    if not isinstance(gates, Gates):
        return _said(gates)
    names = exponent_names(gates.exponents)
    clusters = [
        {
            "size": int(size),
            "fractions": list(zip(names, fractions.tolist(), strict=True)),
            "rows": gates.rows[nearest[nearest >= 0]].tolist(),
        }
        for size, fractions, nearest in zip(
            gates.clusters.sizes, gates.clusters.exponents, gates.clusters.nearest, strict=True
        )
    ]
    blocks = [(name, list(zip(names, values.tolist(), strict=True))) for name, values in gates.blocks.items()]
    return {"says": "", "block": gates.block, "of": len(gates.rows), "clusters": clusters, "blocks": blocks}


def _map(rows, tests, about):
    limited = ""
    if 0 < len(rows) < len(tests.records):
        limited = (
            f"The map shows some of the {len(tests.records):,} images of queries and gallery: all images of random "
            "people, then distractors."
        )
    shown = rows[~tests.distractors[rows]].tolist()
    people = sorted({(tests.identities[row], about[row]["person"]) for row in shown})
    return {"count": len(rows), "limited": limited, "people": [name for _, name in people]}


def _svg(curves):
    return [Markup(figure.svg(alt)) for figure, alt in curves.values()]  # made here, and escaped
