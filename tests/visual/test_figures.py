"""What is drawn in each figure: images, frames by kind, bars, curves and texts; and its SVG for a page."""

import ast
import re
import xml.etree.ElementTree as tree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from keras_osnet.adaptation.settings import State
from keras_osnet.metrics import Estimate, verification_scores
from keras_osnet.visual import GateClusters, PairDistances, figures, overlay
from keras_osnet.visual.marks import MARKS, QUERY, RIGHT, WRONG
from keras_osnet.visual.style import THEME

RNG = np.random.default_rng(0)
VISUAL = Path(figures.__file__).parent


def images(count, height=32, width=14):
    return list(RNG.integers(0, 256, (count, height, width, 3)).astype(np.uint8))


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def shown(figure):
    """The images, in the order in which they were drawn."""
    return [np.asarray(artist.get_array()) for artist in figure.artists if isinstance(artist, BboxImage)]


def frames(figure):
    """(colour, dashes) of every framed image."""
    found = [artist for artist in figure.artists if isinstance(artist, Rectangle)]
    return [(to_hex(patch.get_edgecolor()), patch.get_linestyle()) for patch in found]


def colours_of(figure, *words):
    found = {text.get_text(): to_hex(text.get_color()) for text in figure.findobj(Text)}
    return [found[word] for word in words]


def assert_images(figure, expected):
    assert len(shown(figure)) == len(expected)
    for got, want in zip(shown(figure), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def drawn(figure):
    """Its texts without those of ticks beyond the axes, which are not drawn."""
    FigureCanvasAgg(figure).draw()
    hidden = set()
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            ticks = axis.get_major_ticks() + axis.get_minor_ticks()
            hidden |= {text for tick in ticks if not low <= tick.get_loc() <= high for text in tick.findobj(Text)}
    return [t for t in figure.findobj(Text) if t.get_text() and t.get_visible() and t not in hidden]


def assert_nothing_overlaps(figure):
    """No text lies on another one, on an image, or beyond the edge."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn(figure)]
    for i, (text, box) in enumerate(boxes):
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
        others = boxes[i + 1 :] + [("an image", artist.get_window_extent()) for artist in figure.artists]
        for other, its in others:
            wide = min(box.x1, its.x1) - max(box.x0, its.x0)
            high = min(box.y1, its.y1) - max(box.y0, its.y0)
            assert min(wide, high) <= 0.5, (text, other)


def test_triplets_show_query_match_and_impostor_side_by_side_with_their_distances():
    query, match, impostor = (images(5) for _ in range(3))
    figure = figures.triplets_figure(query, match, impostor, np.arange(10).reshape(5, 2) + 0.25)
    assert_images(figure, [image for triplet in zip(query, match, impostor, strict=True) for image in triplet])
    colours = [colour for colour, _ in frames(figure)]
    assert colours == [QUERY.colour, RIGHT.colour, WRONG.colour] * 5
    assert {"✓ 0.250", "✗ 1.25", "✓ 8.25", "✗ 9.25"} <= set(texts(figure))
    heads = [text for text in texts(figure) if text in ("query", "match", "impostor")]
    assert heads == ["query", "match", "impostor"] * 4  # above the first row of four
    assert_nothing_overlaps(figure)


def test_triplets_without_distances_are_told_apart_by_more_than_colour():
    figure = figures.triplets_figure(*(images(1) for _ in range(3)))
    assert sorted(texts(figure)) == ["impostor", "match", "query", "✓", "✗"]


def test_a_ranking_shows_every_image_framed_by_its_kind_with_sign_and_distance():
    queries, gallery = images(2), [images(4), images(4)]
    kinds = np.array([[2, 0, 1, 0], [1, 1, 0, 2]])
    distances = np.array([[0.5, 1, 12.34, 123.4], [2, 3, 4, 5]])
    figure = figures.ranking_figure(queries, gallery, kinds, distances, ["AP 0.50", "AP 1.00"])
    assert_images(figure, [queries[0], *gallery[0], queries[1], *gallery[1]])
    same, match, impostor = MARKS["same camera"].colour, RIGHT.colour, WRONG.colour
    assert [c for c, _ in frames(figure)] == [
        QUERY.colour, same, match, impostor, match, QUERY.colour, impostor, impostor, match, same,
    ]  # fmt: skip
    dashes = [style for _, style in frames(figure)]
    assert len({str(style) for colour, style in frames(figure) if colour == same}) == 1
    assert len({str(style) for style in dashes[1:4]}) == 3  # same camera, match, impostor
    found = texts(figure)
    assert {"○ 0.500", "✓ 1.00", "✗ 12.3", "✓ 123", "✗ 2.00", "✓ 4.00", "○ 5.00", "AP 0.50", "AP 1.00"} <= set(found)
    assert {"query", "1", "2", "3", "4"} <= set(found)
    assert sum("same camera, not scored" in text for text in found) == 1
    assert_nothing_overlaps(figure)


def test_activations_stand_beside_their_images_and_those_of_the_other_network():
    seen, maps, other = images(3), RNG.uniform(size=(3, 8, 4)), RNG.uniform(size=(3, 5, 3))
    figure = figures.activations_figure(seen, maps, other, names=("osnet_x0_25", "osnet_t1_x0_25"))
    expected = []
    for image, here, there in zip(seen, maps, other, strict=True):
        expected += [image, overlay(image, here), overlay(image, there)]
    assert_images(figure, expected)
    assert texts(figure) == ["image", "osnet_x0_25", "osnet_t1_x0_\n25"] * 3
    assert_nothing_overlaps(figure)
    alone = figures.activations_figure(seen, maps)
    assert len(shown(alone)) == 6
    assert "other" not in texts(alone)


def clusters():
    sizes, exponents = np.array([12, 1]), np.array([[0.125, 0.5, 0.25, 0.125], [0.0, 0.0, 0.0, 1.0]])
    return GateClusters(np.zeros((2, 4, 3)), np.zeros((2, 5), int), sizes, exponents, np.zeros(13, int))


def test_clusters_of_gates_show_their_images_sizes_and_exponents():
    rows = [images(5), images(1)]
    figure = figures.gates_figure(rows, clusters())
    assert_images(figure, rows[0] + rows[1])
    bars = [[bar.get_width() for bar in axes.patches] for axes in figure.axes]
    assert bars == [[12.5, 50, 25, 12.5], [0, 0, 0, 100]]
    assert {"cluster 1\n12 images", "cluster 2\n1 image", "t = 1", "t = 4", "50", "100"} <= set(texts(figure))
    assert_nothing_overlaps(figure)


def test_exponents_of_blocks_and_clusters_are_stacked_bars_that_fill_their_row():
    fractions = {"conv2_1": np.array([0.5, 0.25, 0.25, 0]), "conv4_2": np.array([[0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0]])}
    figure = figures.exponents_figure(fractions)
    (axes,) = figure.axes
    rows = {}
    for bar in axes.patches:
        rows.setdefault(round(bar.get_y() + bar.get_height() / 2), []).append((bar.get_x(), bar.get_width()))
    want = [[(0, 50), (50, 25), (75, 25), (100, 0)], [(0, 10), (10, 20), (30, 30), (60, 40)]]
    np.testing.assert_allclose([rows[0], rows[1]], want, atol=1e-9)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["conv2_1", "conv4_2, cluster 1", "conv4_2, cluster 2"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["t = 1", "t = 2", "t = 3", "t = 4"]
    assert_nothing_overlaps(figure)


@pytest.mark.parametrize(
    ("exponents", "names"),
    [((2, 4, 6, 8), ["t = 2", "t = 4", "t = 6", "t = 8"]), ((4,) * 4, [f"stream {s}" for s in (1, 2, 3, 4)])],
)
def test_streams_are_named_by_their_exponents_or_by_their_numbers(exponents, names):
    figure = figures.gates_figure([ONE, ONE], clusters(), exponents)
    assert set(names) <= set(texts(figure))
    assert_nothing_overlaps(figure)
    (axes,) = figures.exponents_figure({"conv2_1": np.full(4, 0.25)}, exponents).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == names


def test_a_feature_map_places_every_point_and_names_few_labels():
    points, labels = RNG.uniform(size=(30, 2)), np.arange(30) % 3
    figure = figures.feature_map_figure(points, labels, {0: "red", 2: "blue"})
    (axes,) = figure.axes
    for label, drawn in enumerate(axes.collections):
        np.testing.assert_array_equal(drawn.get_offsets(), points[labels == label])
    assert len(axes.collections) == 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["red", "1", "blue"]
    assert_nothing_overlaps(figure)
    many = figures.feature_map_figure(points, np.arange(30))
    assert many.axes[0].get_legend() is None
    looks = {(to_hex(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in many.axes[0].collections}
    assert len(looks) == 30


def test_attributes_are_ticked_where_right_crossed_where_wrong_and_left_out_where_rightly_absent():
    probabilities = np.array([[0.9, 0.3, 0.7, 0.1], [0.5, 0.2, 0.1, 0.499]])
    labels = np.array([[1, 1, 0, 0], [1, 0, 0, 0]])
    figure = figures.attributes_figure(images(2), ["hat", "long_hair", "bag", "skirt"], probabilities, labels)
    assert len(shown(figure)) == 2
    assert {"hat ✓", "long hair ✗", "bag ✗", "90", "30", "70", "50"} <= set(texts(figure))
    assert not any("skirt" in text for text in texts(figure))
    assert colours_of(figure, "hat ✓", "long hair ✗", "bag ✗") == [RIGHT.colour, WRONG.colour, WRONG.colour]
    first, second = ([bar for bar in axes.patches] for axes in figure.axes)
    np.testing.assert_allclose([bar.get_width() for bar in first], [0.9, 0.3, 0.7])
    assert [bool(bar.get_hatch()) for bar in first] == [False, False, True]  # predicted, but not true
    assert [bar.get_width() for bar in second] == [0.5]  # at the threshold it is predicted
    assert_nothing_overlaps(figure)
    low = figures.attributes_figure(images(2), ["hat", "long_hair", "bag", "skirt"], probabilities, labels, 0.05)
    assert {"long hair ✓", "skirt ✗"} <= set(texts(low))


def test_a_person_without_attributes_is_shown_alone():
    figure = figures.attributes_figure(images(1), ["hat"], [[0.2]], [[0]])
    assert (len(figure.axes), len(shown(figure))) == (0, 1)


def test_cmc_curves_are_in_per_cent_from_rank_one_and_named_with_it():
    figure = figures.cmc_figure({"ours": np.array([0.5, 0.75, 1]), "theirs": np.array([0.25, 0.5])})
    (axes,) = figure.axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 50], [2, 75], [3, 100]], [[1, 25], [2, 50]]]
    assert {"ours: 50.0 at rank 1", "theirs: 25.0 at rank 1"} <= set(texts(figure))
    assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()


def test_names_are_drawn_as_they_are():
    """Matplotlib takes $ for a formula, and leaves a label that begins with _ out of legends."""
    names, points = [r"run_$\x$", "_old", "a$b"], np.array([[0, 0], [1, 1], [0, 1]])
    for figure in (
        figures.cmc_figure({name: np.array([0.5, 0.75]) for name in names}),
        figures.feature_map_figure(points, np.arange(3), dict(enumerate(names))),
    ):
        figure._repr_png_()
        legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert [text.split(":")[0].strip().replace(r"\$", "$") for text in legend] == names
    figures.attributes_figure(images(1), names, [[0.9] * 3], [[1] * 3])._repr_png_()
    figures.exponents_figure({name: np.array([0.5, 0.5]) for name in names})._repr_png_()


def test_networks_are_compared_by_points_with_intervals_in_per_cent():
    (axes,) = figures.comparison_figure({"a": (3.0, Estimate(0.5, 0.4, 0.7, 0.95))}).axes
    assert axes.lines[0].get_xydata().tolist() == [[3, 50]]
    (segment,) = axes.collections[0].get_segments()
    assert segment.tolist() == pytest.approx(np.array([[3, 40], [3, 70]]))


@pytest.mark.parametrize("value", [2 / 3, 2 / 3 + 3e-16, 2 / 3 - 3e-16])
def test_the_interval_of_equal_scores_may_miss_their_mean_by_rounding(value):
    (axes,) = figures.comparison_figure({"a": (3.0, Estimate(value, 2 / 3, 2 / 3, 0.95))}).axes
    (segment,) = axes.collections[0].get_segments()
    assert segment.tolist() == pytest.approx(np.array([[3, 200 / 3], [3, 200 / 3]]))


def two_people():
    """Distances 1 and 3 to matches, 2 and 4 to impostors."""
    query, gallery = np.array([[0.0], [10.0]]), np.array([[1.0], [8.0], [13.0], [4.0]])
    return verification_scores(query, [1, 2], [1, 1], gallery, [1, 3, 2, 3], [2, 2, 2, 2], far=[1e-4, 0.25])


def test_a_roc_curve_marks_the_point_to_work_at_with_its_threshold():
    scores = two_people()
    figure = figures.roc_figure(scores, far=0.25)
    curve, mark = figure.axes[0].lines
    np.testing.assert_allclose(curve.get_xydata(), 100 * scores.curve[:, :2])
    np.testing.assert_allclose(mark.get_xydata(), [[25, 100 * scores.tar[1]]])
    text = next(text for text in texts(figure) if "accepts" in text)
    assert text.startswith(f"● distance {scores.threshold[1]:.4g} accepts\n{100 * scores.tar[1]:.1f} % of true pairs")
    assert f"area under the curve {scores.auc:.4f}" in texts(figure)
    assert (np.array([8, 13, 4, 9, 2, 6]) <= scores.threshold[1]).mean() == 1 / 6  # of the impostors, and 1/4 may be
    assert text.endswith("at most 25 % of impostors")


def test_a_roc_curve_says_when_the_nearest_pairs_are_all_impostors():
    query, gallery = np.array([[0.0]]), np.array([[1.0], [2.0]])
    scores = verification_scores(query, [1], [1], gallery, [3, 1], [2, 2], far=[0.5])
    assert "● no distance accepts" in "".join(texts(figures.roc_figure(scores)))


def test_distances_are_fractions_of_matches_and_of_impostors_with_the_threshold():
    pairs = PairDistances(np.array([0.0, 1, 2, 3]), np.array([3, 1, 0]), np.array([0, 5, 15]))
    figure = figures.distances_figure(pairs, threshold=1.25)
    (axes,) = figure.axes
    lines = [patch for patch in axes.patches if not patch.get_fill()]
    assert [line.get_data().values.tolist() for line in lines] == [[75, 25, 0], [0, 25, 75]]
    assert len({str(line.get_linestyle()) for line in lines}) == 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "4 matches", "20 impostors", "threshold 1.25",
    ]  # fmt: skip
    assert axes.lines[0].get_xdata() == [1.25, 1.25]
    assert not figures.distances_figure(pairs).axes[0].lines


def test_training_shows_loss_learning_rate_and_scores_where_there_are_some():
    lines = [{"epoch": e, "loss": 3.0 - e, "learning_rate": 0.1, "seconds": 9.0, "accuracy": e / 4} for e in (1, 2)]
    lines[1]["mAP"] = 0.5
    figure = figures.training_figure(lines)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Learning rate", "Scores, %"]
    drawn = [[line.get_xydata().tolist() for line in axes.lines] for axes in figure.axes]
    assert drawn == [[[[1, 2], [2, 1]]], [[[1, 0.1], [2, 0.1]]], [[[1, 25], [2, 50]], [[2, 50]]]]
    assert [text.get_text() for text in figure.axes[2].get_legend().get_texts()] == ["accuracy", "mAP"]
    assert len(figures.training_figure([{"epoch": 1, "loss": 1.0}]).axes) == 1
    (axes,) = figures.training_figure([{"epoch": np.int64(3), "loss": np.float32(0.5)}]).axes  # numbers of NumPy
    assert axes.lines[0].get_xydata().tolist() == [[3, 0.5]]


def test_one_panel_of_training_is_drawn_alone():
    lines = [{"epoch": e, "loss": 3.0 - e, "rank1": e / 4, "settings": {"of": "no number"}} for e in (1, 2)]
    assert figures.training_panels(lines) == {"Loss": ["loss"], "Scores, %": ["rank1"]}
    (axes,) = figures.training_figure(lines, "Scores, %").axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 25], [2, 50]]]


def states(*agreements):
    known = {"height": 64, "eps": 0.5, "clusters": 9, "largest": 0.1}
    return [
        State(round=r, clustered=0.5 + r / 8, silhouette=r / 4, agreement=agreement, **known)
        for r, agreement in enumerate(agreements)
    ]


def test_rounds_are_drawn_with_what_is_known_after_each():
    (axes,) = figures.rounds_figure(states(None, 0.75)).axes
    clustered, silhouette, agreement = (line.get_xydata().tolist() for line in axes.lines)
    assert clustered == [[0, 0.5], [1, 0.625]]
    assert silhouette == [[0, 0], [1, 0.25]]
    assert agreement == [[1, 0.75]]
    assert axes.get_legend() is not None
    (again,) = figures.rounds_figure(state for state in states(None, 0.75)).axes  # any iterable
    assert [line.get_xydata().tolist() for line in again.lines] == [clustered, silhouette, agreement]
    assert len(figures.rounds_figure(states(None)).axes[0].lines[2].get_xydata()) == 0


def test_rounds_with_a_silhouette_below_zero_are_within_the_axes():
    (axes,) = figures.rounds_figure([replace(state, silhouette=-0.3) for state in states(None, -0.1)]).axes
    assert axes.get_ylim()[0] < -0.3


FOUND = Estimate(0.5, 0.4, 0.7, 0.95)
CURVES = {
    "cmc": lambda: figures.cmc_figure({"ours": np.linspace(0.5, 1, 50)}),
    "comparison": lambda: figures.comparison_figure({name: (2.0 * i, FOUND) for i, name in enumerate("ab", 1)}),
    "roc": lambda: figures.roc_figure(two_people(), far=0.25),
    "rounds": lambda: figures.rounds_figure(states(None, 0.75, 0.9)),
    "distances": lambda: figures.distances_figure(
        PairDistances(np.linspace(0, 3, 31), np.arange(30), np.arange(30)[::-1]), threshold=1.25
    ),
    "training": lambda: figures.training_figure([{"epoch": e, "loss": 3.0 - e, "mAP": e / 4} for e in (1, 2)]),
}


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_has_room_for_its_texts(name):
    assert_nothing_overlaps(CURVES[name]())


@pytest.mark.parametrize("name", CURVES)
def test_the_svg_of_a_curve_keeps_its_text_takes_its_colours_from_the_page_and_loads_nothing(name):
    figure = CURVES[name]()
    text = figure.svg('a "curve" of <a> & b')
    root = tree.fromstring(text)
    assert root.attrib["aria-label"] == 'a "curve" of <a> & b'
    assert set(root.attrib) == {"viewBox", "role", "aria-label"}
    written = {" ".join("".join(each.itertext()).split()) for each in root.iter() if each.tag == "text"}
    assert {line for text in drawn(figure) for line in text.get_text().split("\n") if "$" not in line} <= written
    colours = set(re.findall(r"(?<!, )#[0-9a-f]{6}", text))
    assert not colours & set(THEME)
    assert len(re.findall(r"var\(--[a-z]+, #[0-9a-f]{6}\)", text)) > 10
    assert not re.findall(r"url\((?!#)|@import|https?:|<style|<!", text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert set(re.findall(r"#(\w{9,})", text)) <= set(ids)
    assert text == CURVES[name]().svg('a "curve" of <a> & b')


def test_a_figure_shows_itself_in_a_notebook_and_is_one_of_matplotlibs():
    figure = figures.cmc_figure({"a": [1.0]})
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("path", sorted(VISUAL.glob("*.py")), ids=lambda path: path.name)
def test_no_part_uses_pyplot(path):
    names = {
        name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    }
    assert not any(name and "pyplot" in name.split(".") for name in names)


ONE, TWO = images(1), images(2)


def test_a_first_cluster_without_images_leaves_the_others():
    assert_images(figures.gates_figure([[], ONE], clusters()), ONE)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: figures.triplets_figure(TWO, ONE, TWO), r"`match` must be 2 images\. Received: 1"),
        (lambda: figures.triplets_figure([], [], []), r"`query` must be one or more images\. Received: 0"),
        (lambda: figures.triplets_figure(ONE, ONE, [ONE[0] / 255]), r"`impostor` must be .* type float64"),
        (lambda: figures.triplets_figure(ONE, ONE, ONE, [1.0, 2.0]), r"`distances` .* shape \(1, 2\)"),
        (lambda: figures.ranking_figure(ONE, [TWO], [[0, 3]]), r"`kinds` must be indices .* Received: \[0, 3\]"),
        (lambda: figures.ranking_figure(ONE, [TWO], [[0, 1, 1]]), r"`gallery` must be 3 images\. Received: 2"),
        (lambda: figures.ranking_figure(ONE, [TWO], [[0, 1]], titles=[]), r"`titles` must have 1 entries"),
        (lambda: figures.activations_figure(ONE, np.ones((2, 4, 3))), r"`maps` .* shape \(1, any, any\)"),
        (lambda: figures.activations_figure(ONE, np.ones((1, 4, 3)), np.ones((4, 3))), r"`other` must be"),
        (lambda: figures.gates_figure([ONE], clusters()), r"`images` must have 2 entries\. Received: 1"),
        (lambda: figures.exponents_figure({"a": [1.0]}, (1, 2)), r"`exponents` must have 1 entries\. Received: 2"),
        (lambda: figures.exponents_figure({}), r"`fractions` must have the same number of streams"),
        (lambda: figures.exponents_figure({"a": [1.0], "b": [0.5, 0.5]}), r"Received: \[1, 2\]"),
        (lambda: figures.feature_map_figure(np.ones((3, 2)), [1, 2]), r"`labels` .* of shape \(3\)"),
        (lambda: figures.attributes_figure(ONE, ["a"], [[0.5, 0.5]], [[1]]), r"`probabilities` .* \(1, 1\)"),
        (lambda: figures.triplets_figure(ONE, ONE, ONE, [[1.0, np.nan]]), r"`distances` must be finite"),
        (lambda: figures.feature_map_figure([[0, np.inf]], [1]), r"`points` must be in 0 \.\. 1\. Received: inf"),
        (lambda: figures.feature_map_figure([[0, 7.5]], [1]), r"`points` must be in 0 \.\. 1\. Received: 7\.5"),
        (lambda: figures.attributes_figure(ONE, ["a"], [[1.5]], [[1]]), r"`probabilities` must be in 0 \.\. 1"),
        (lambda: figures.attributes_figure(ONE, ["a"], [[0.5]], [[2]]), r"`labels` must be in 0 \.\. 1\. Received: 2"),
        (lambda: figures.attributes_figure(ONE, ["a"], [[1]], [[0.5]]), r"`labels` must be 0 or 1\. Received: 0\.5"),
        (lambda: figures.exponents_figure({"a": [0.5, np.nan]}), r"`fractions\['a'\]` must be in 0 \.\. 1"),
        (lambda: figures.exponents_figure({"a": [40, 60]}), r"`fractions\['a'\]` must be in 0 \.\. 1\. Received: 40"),
        (lambda: figures.cmc_figure({"a": [50.0]}), r"`curves\['a'\]` must be in 0 \.\. 1\. Received: 50"),
        (lambda: figures.comparison_figure({"a": (np.nan, FOUND)}), r"`rows\['a'\]\[0\]` must be at least 0"),
        (lambda: figures.comparison_figure({"a": (2, 0.8)}), r"name to \(x, Estimate\)\. Received: 'a': \(2, 0\.8\)"),
        (lambda: figures.cmc_figure({}), r"`curves` must not be empty"),
        (lambda: figures.comparison_figure({}), r"`rows` must not be empty"),
        (lambda: figures.rounds_figure([]), r"`states` must not be empty"),
        (lambda: figures.rounds_figure(iter([])), r"`states` must not be empty"),
        (lambda: figures.feature_map_figure([[0, 1]], [0], ["Anna"]), r"`names` must be a dict .* Received: list"),
        (lambda: figures.cmc_figure({"a": []}), r"`curves\['a'\]` must be"),
        (lambda: figures.roc_figure(two_people(), far=None), r"`far` must be positive\. Received: far=None"),
        (lambda: figures.attributes_figure(ONE, ["hat"], [[1]], [[1]], [0.5]), r"`threshold` .*=\[0\.5\]"),
        (lambda: figures.roc_figure(two_people(), far=0), r"`far` must be positive"),
        (lambda: figures.cmc_figure(two_people()), r"`curves` must be a dict .* Received: VerificationScores"),
        (lambda: figures.exponents_figure([[0.5, 0.5]]), r"`fractions` must be a dict .* Received: list"),
        (lambda: figures.comparison_figure([(3.0, FOUND)]), r"`rows` must be a dict .* Received: list"),
        (lambda: figures.training_figure(['{"epoch": 1, "loss": 1.0}']), r"`lines` must be .* 1 lines of type str"),
        (lambda: figures.triplets_figure(None, ONE, ONE), r"`query` must be a list\. Received: query=None"),
        (lambda: figures.ranking_figure(ONE, None, [[0, 1]]), r"`gallery` must be a list\. Received: gallery=None"),
        (lambda: figures.ranking_figure(ONE, [TWO], [[0, 1]], titles="a"), r"`titles` must be a list.*'a'"),
        (lambda: figures.exponents_figure({"a": [1.0]}, 1), r"`exponents` must be a list\. Received: exponents=1"),
        (lambda: figures.attributes_figure(ONE, "a", [[0.5]], [[1]]), r"`names` must be a list\. Received: names='a'"),
        (lambda: figures.training_figure(None), r"`lines` must be a list\. Received: lines=None"),
        (
            lambda: figures.training_figure([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": "1"}]),
            r"`lines` must hold numbers\. Received: epoch=2, loss='1'",
        ),
        (lambda: figures.training_figure([{"epoch": "1", "loss": 2.0}]), r"`lines` must hold numbers.*epoch='1'"),
        (lambda: figures.training_figure([]), r"`lines` must be one or more dicts .* Received: 0"),
        (lambda: figures.training_figure([{"epoch": 1, "seconds": 2.0}]), r"Received: epoch, seconds"),
        (lambda: figures.training_figure([{"epoch": 1, "loss": 2.0}], "loss"), r"`panel` must be one of 'Loss'\. "),
        (lambda: figures.exponents_figure({"a": np.ma.masked_less([0.2, 0.8], 0.5)}), r"\['a'\]` must have no masked"),
        (lambda: figures.triplets_figure(*[np.ma.masked_less(ONE, 300)] * 3), "`query` must have no masked values"),
        (lambda: figures.gates_figure([[], []], clusters()), r"`images` must hold an image\. Received: 2 empty lists"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
