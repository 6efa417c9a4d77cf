"""Grids of YOLO detectors, whose rows are cells of the image."""

from dataclasses import dataclass

import numpy as np

STRIDES = ((8, 16, 32), (8, 16, 32, 64))  # pixels between the cells of the levels


@dataclass(frozen=True)
class Layout:
    """What is known of a detector before its outputs are read.

    Args:
        size: (width, height) of the input.
        names: of the outputs.
        classes: names of the classes by number, from the file's metadata; empty where it has none.
    """

    size: tuple[int, int]
    names: tuple[str, ...]
    classes: dict[int, str]

    def cells(self, count):
        """(N, 2) left upper corners and (N,) strides of the cells of a grid with `count` rows, or None.

        The order of YOLOX's `demo_postprocess` (yolox/utils/demo_utils.py): level by level, row by row.
        """
        for strides in STRIDES:
            levels = [np.indices([-(-side // stride) for side in self.size[::-1]])[::-1] for stride in strides]
            if sum(level[0].size for level in levels) == count:
                corners = [level.reshape(2, -1).T * stride for level, stride in zip(levels, strides, strict=True)]
                return np.concatenate(corners), np.repeat(strides, [len(some) for some in corners])
        return None

    def is_grid(self, count):
        """Number of rows for each cell (YOLOX: 1, YOLOv5: 3), or 0 if the rows are no cells of a grid."""
        return next((each for each in (1, 3) if count % each == 0 and self.cells(count // each)), 0)


def undecoded(rows, layout):
    """Rows of YOLOX, with centres and sizes in pixels where the file leaves the decoding to its user.

        x = (x' + column) stride;  w = exp(w') stride        (`demo_postprocess`)

    An object's centre is near the cell that finds it. Of three readings of the rows (offsets of cells, pixels,
    fractions of the input) the one is right whose centres are nearest to their cells.
    """
    grid = layout.cells(len(rows))
    if grid is None:
        return rows
    corners, strides = grid
    offsets = rows[:, :2] * strides[:, None] + corners
    readings = (offsets, rows[:, :2], rows[:, :2] * layout.size)
    near = [np.median(np.abs(centres - corners - strides[:, None] / 2)) for centres in readings]
    if np.argmin(near):
        return rows
    sizes = np.exp(np.minimum(rows[:, 2:4], 20)) * strides[:, None]
    return np.concatenate([offsets, sizes, rows[:, 4:]], axis=1)
