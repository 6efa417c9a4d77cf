"""The page about clusters of unlabelled images: curves over the rounds, and images of clusters."""

from pathlib import Path

import numpy as np
from markupsafe import Markup

from keras_osnet.files import refuse_foreign, require_writable, write_atomically
from keras_osnet.report.page import environment
from keras_osnet.report.thumbnails import thumbnails
from keras_osnet.visual.curves import rounds_figure

PAGE, MARK = "clusters.html", b">Clusters of images without labels</p>"
CLUSTERS, IMAGES = 16, 16  # of each group of clusters; of each cluster
GROUPS = {
    "uncertain": ("The least certain", "The clusters with the lowest silhouette. They may hold several people."),
    "large": ("The largest", "A cluster with many more images than others may be several people who look alike."),
    "spread": ("Some of the others", "Every so many clusters, from the most certain to the least."),
}


def require_clusters_page(work_dir):
    """Raises an error if `write_clusters` cannot write its page: OSError, or ValueError for a foreign file."""
    require_writable(Path(work_dir) / PAGE)
    refuse_foreign(Path(work_dir) / PAGE, MARK)


def write_clusters(work_dir, states, best, labels, silhouettes, paths, cameras, *, ended=None):
    """Writes clusters.html: curves over the rounds, and clusters of the best state with their images.

    Args:
        work_dir: folder of the page.
        states: list of `keras_osnet.adaptation.settings.State`.
        best: the state of the clusters.
        labels: (N,) integers, the cluster of each image, -1 for an outlier.
        silhouettes: (N,) numbers, -1 to 1, one per image.
        paths: N image files.
        cameras: camera of each image, None if unknown.
        ended: reason why the adaptation ended early. Default: it did not.

    Returns:
        path of the page.

    Raises:
        ValueError: if clusters.html is a foreign file, or the arguments have different numbers of images.
        OSError: if the page cannot be written.
    """
    labels, silhouettes = np.asarray(labels), np.asarray(silhouettes)
    if not len(labels) == len(silhouettes) == len(paths) == len(cameras):
        raise ValueError(
            "`labels`, `silhouettes`, `paths` and `cameras` must be of the same images. "
            f"Received: {len(labels)}, {len(silhouettes)}, {len(paths)} and {len(cameras)}"
        )
    require_clusters_page(work_dir)
    members = [np.flatnonzero(labels == label) for label in range(labels.max(initial=-1) + 1)]
    chosen = _chosen(members, silhouettes)
    groups = {name: [_shown(members[label], silhouettes) for label in found] for name, found in chosen.items()}
    outside = np.flatnonzero(labels < 0)
    outside = outside[np.linspace(0, len(outside) - 1, min(len(outside), 2 * IMAGES)).astype(int)].tolist()
    rows = sorted({*outside, *(row for group in groups.values() for _, shown, _ in group for row in shown)})
    encoded = dict(zip(rows, thumbnails([paths[row] for row in rows], 96), strict=True))
    html = environment().get_template("clusters.html.j2").render(
        tiles=_tiles(best, len(paths)),
        best=best,
        ended=ended,
        curves=[Markup(rounds_figure(states).svg("Measures without labels after each round"))],
        groups=[(name, *GROUPS[name], group) for name, group in groups.items() if group],
        outside=outside,
        encoded=encoded,
        names={row: "/".join(Path(paths[row]).parts[-2:]) for row in encoded},
        cameras={row: cameras[row] for row in encoded},
    )  # fmt: skip
    path = Path(work_dir) / PAGE
    write_atomically(path, html.encode("utf-8", "replace"))
    return path


def _tiles(best, total):
    return {
        "images": f"{total:,}",
        "clusters": f"{best.clusters:,}",
        "images in clusters": f"{100 * best.clustered:.1f} %",
        "silhouette": f"{best.silhouette:.3f}",
        "after": best.when,
    }


def _chosen(members, silhouettes):
    """Returns the clusters of each group. No cluster is in two groups."""
    left = np.argsort([-silhouettes[rows].mean() for rows in members], kind="stable").tolist()
    found = {"uncertain": left[::-1][:CLUSTERS]}
    left = [label for label in left if label not in found["uncertain"]]
    found["large"] = sorted(left, key=lambda label: -len(members[label]))[:CLUSTERS]
    left = [label for label in left if label not in found["large"]]
    found["spread"] = [left[at] for at in np.linspace(0, len(left) - 1, min(len(left), CLUSTERS)).astype(int)]
    return found


def _shown(rows, silhouettes):
    """Returns (number of images, shown images from the least certain on, their mean silhouette)."""
    order = rows[np.argsort(silhouettes[rows], kind="stable")]
    return len(rows), order[:IMAGES].tolist(), float(silhouettes[rows].mean())
