"""SoccerNet ReID: people on football pitches, from its official folder, without the challenge set."""

import re
from pathlib import Path

from keras_osnet.data.datasets.official import parsed, require
from keras_osnet.data.listing import scan
from keras_osnet.data.records import Record, Splits

FOLDER = "soccernetv3/reid"
EXPECTED_TREE = f"""{FOLDER}/
    train/          <league>/<season>/<game>/<action>/<any>.png
    valid/query/    likewise, as valid/gallery/, test/query/, test/gallery/
names: <box>-<action>-<person>-<frame>-<class>-<id>-<annotation>-<height>x<width>.png
"""
NAME = re.compile(r"(\d+)-(\d+)-([^-]+)-\d+-[^-]*-[^-]*-[^-]*-\d+x\d+\.png")
EXAMPLE = "0-7-42-0-Player_team_left-10-001x0-256x128.png (box, action, person, frame, ...)"


def load(root, *, part="test"):
    """Reads the file names below `root`/soccernetv3/reid. A query is ranked against the images of its own action.

    People have a new label in each action. A query is an image of the action, the gallery has its replays under other
    cameras. No pair is excluded for its camera.

    Args:
        root: folder that holds the official folder.
        part: "test" (default) or "valid", the part with query and gallery.

    Returns:
        `Splits` with the actions as groups. Test people are numbered after the training people.

    Raises:
        ValueError: if the folder is missing or differently laid out, or if file names do not parse.

    Reference: Cioppa et al., Scaling up SoccerNet with Multi-view Spatial Localization and Re-identification
    (Scientific Data, 2022); the scoring of its development kit.
    """
    paths = [f"{FOLDER}/{name}" for name in ("train", f"{part}/query", f"{part}/gallery")]
    require(root, "SoccerNet's official folder for ReID", EXPECTED_TREE, paths)
    others = {}
    train, query, gallery = (_named(Path(root) / path, others) for path in paths)
    trained, tested = ({match[3] for _, match in found} for found in (train, query + gallery))
    people = {("train", name): number for number, name in enumerate(sorted(trained))}
    people |= {("test", name): number for number, name in enumerate(sorted(tested), len(people))}
    sides = ("train", train), ("test", query), ("test", gallery)
    unread = [f"{path} ({why})" for path, why in sorted(others.items()) if why != "not an image suffix"]
    return Splits(
        *(
            tuple(Record(str(path), people[side, match[3]], None, group=int(match[2])) for path, match in found)
            for side, found in sides
        ),
        passed_over=tuple(unread),
    )


def _named(folder, others):
    """Returns (path, match of the name) of all images below a folder, in the order of the boxes.

    What `scan` passes over is added to the dict `others`.
    """
    images, passed_over = scan(folder)
    others.update(passed_over)
    return sorted(parsed(folder, NAME, EXAMPLE, images), key=lambda found: int(found[1][1]))
