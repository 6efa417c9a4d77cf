"""Scores of identities that were found in the boxes of several cameras, against known ones."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import count

import numpy as np

OVERLAP = 0.5  # least intersection over union of a found and a true box


@dataclass(frozen=True)
class IdentityScores:
    """Attributes:
    idf1, idp, idr: F1, precision and recall of identities, 0..1, over all cameras as one sequence.
    camera_idf1: dict of camera to the IDF1 within it; cameras without boxes are left out.
    false_matches: fraction of pairs of tracks of two cameras with one identity that are of two people; NaN without.
    matches: number of these pairs.
    false_match_rate: fraction of pairs of tracks of two people in two cameras that have one identity; NaN without.
    found: fraction of pairs of tracks of one person in two cameras that have one identity; NaN without.
    """

    idf1: float
    idp: float
    idr: float
    camera_idf1: dict
    false_matches: float
    matches: int
    false_match_rate: float
    found: float


def identity_scores(ground_truth, found):
    """Scores identities.

    Args:
        ground_truth: dict of camera to a dict of frame to a list of (identity, (left, top, right, bottom)).
        found: the same of found boxes, with rows (identity, box, track). A camera that one of both lacks has no boxes
            there.

    Returns:
        `IdentityScores`.

    Raises:
        ValueError: if an argument is not as described, or a frame has an identity twice: IDF1 would not be defined.
        ImportError: without motmetrics.

    Reference: Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking (2016).
    """
    motmetrics = motmetrics_package()
    check_boxes("ground_truth", ground_truth, ("identity", "box"))
    check_boxes("found", found, ("identity", "box", "track"))
    whole = motmetrics.MOTAccumulator(auto_id=True)  # a frame of each camera is a frame of its own
    single, votes = {}, {}
    people, names = defaultdict(count().__next__), defaultdict(count().__next__)  # motmetrics takes numbers only
    for camera in {**ground_truth, **found}:
        frames, mine = ground_truth.get(camera, {}), found.get(camera, {})
        if not any(frames.values()) and not any(mine.values()):
            continue
        single[camera] = motmetrics.MOTAccumulator(auto_id=True)
        for frame in sorted({*frames, *mine}):
            true, rows = frames.get(frame, []), mine.get(frame, [])
            overlap = overlaps([box for _, box in true], [row[1] for row in rows])
            distances = np.where(overlap >= OVERLAP, 1 - overlap, np.nan)
            for accumulator in (whole, single[camera]):
                accumulator.update([people[name] for name, _ in true], [names[row[0]] for row in rows], distances)
            for column, (identity, _, track) in enumerate(rows):
                near = distances[:, column]
                if len(near) and not np.isnan(near).all():
                    vote = votes.setdefault((camera, track, identity), Counter())
                    vote[true[int(np.nanargmin(near))][0]] += 1
    compute = motmetrics.metrics.create().compute
    row = compute(whole, metrics=["idf1", "idp", "idr"], name="all").iloc[0]
    of_cameras = {camera: float(compute(each, metrics=["idf1"]).iloc[0, 0]) for camera, each in single.items()}
    return IdentityScores(float(row.idf1), float(row.idp), float(row.idr), of_cameras, *_across(votes))


def motmetrics_package():
    """The package motmetrics. Raises an ImportError that names it where it is not installed."""
    try:
        import motmetrics
    except ImportError as error:
        raise ImportError("scores of identities need motmetrics: pip install motmetrics", name=error.name) from error
    return motmetrics


def check_boxes(name, cameras, columns):
    """Raises a ValueError if boxes are not as `identity_scores` takes them, or a frame has an identity twice."""
    times = Counter()
    try:
        for camera, frames in cameras.items():
            for frame, rows in frames.items():
                for row in rows:
                    if len(row) != len(columns) or np.shape(row[1]) != (4,) or not np.isfinite(row[1]).all():
                        raise ValueError(f"{row!r:.200}")
                    times[camera, frame, row[0]] += 1
                    hash(tuple(row[2:]))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be a dict of camera to a dict of frame to a list of ({', '.join(columns)}), a box of four "
            f"finite numbers. Received: {error}"
        ) from error
    for (camera, frame, identity), number in times.items():
        if number > 1:
            raise ValueError(
                f"`{name}` must have each identity once in a frame. "
                f"Received: {number} boxes of {identity} in frame {frame} of camera {camera}"
            )


def overlaps(boxes, others):
    """(boxes, others) intersection over union of boxes (left, top, right, bottom)."""
    boxes, others = (np.array(each, float).reshape(-1, 4) for each in (boxes, others))
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others)]
    return common / (areas[0][:, None] + areas[1][None] - common)


def _across(votes):
    """(fraction of joined pairs that are wrong, joined pairs, fractions of wrong and of true pairs that are joined)."""
    keys = list(votes)
    cameras = np.array([str(key[0]) for key in keys])
    true = np.array([str(votes[key].most_common(1)[0][0]) for key in keys])
    identity = np.array([str(key[2]) for key in keys])
    rows, columns = np.triu_indices(len(keys), 1)
    across = cameras[rows] != cameras[columns] if keys else np.empty(0, bool)
    rows, columns = rows[across], columns[across]
    joined, same = identity[rows] == identity[columns], true[rows] == true[columns]
    wrong, strangers, found = (
        float((joined & which).sum() / of.sum()) if of.any() else float("nan")
        for which, of in ((~same, joined), (~same, ~same), (same, same))
    )
    return wrong, int(joined.sum()), strangers, found
