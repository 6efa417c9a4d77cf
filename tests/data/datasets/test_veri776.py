"""VeRi-776's official folder, written here in small; its files stay empty, as only their names are read."""

import pytest

from keras_osnet.data import DATASETS, load

FILES = {
    "image_train": ("0001_c001_00016450_0.jpg", "0001_c004_00073775_0.jpg", "0776_c020_00000001_1.jpg"),
    "image_query": ("0002_c002_00030600_0.jpg",),
    "image_test": ("0002_c002_00030600_0.jpg", "0002_c003_00032125_0.jpg", "0005_c001_00020230_0.jpg"),
}


def official(root):
    for part, names in FILES.items():
        folder = root / "VeRi" / part
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
    (root / "VeRi" / "name_train.txt").write_text("\n".join(FILES["image_train"]))
    return root


def test_vehicle_and_camera_come_from_the_names(tmp_path):
    splits = load("veri776", official(tmp_path))
    labels = [[(r.identity, r.camera) for r in part] for part in (splits.train, splits.query, splits.gallery)]
    assert labels == [[(1, 1), (1, 4), (776, 20)], [(2, 2)], [(2, 2), (2, 3), (5, 1)]]


def test_names_of_another_form_are_refused(tmp_path):
    (official(tmp_path) / "VeRi" / "image_test" / "2_3.jpg").touch()
    with pytest.raises(ValueError, match=r"named like 0002_c002_00030600_0\.jpg.*1 of other names: 2_3\.jpg"):
        load("veri776", tmp_path)


def test_the_table_holds_the_counts_of_its_paper():
    row = DATASETS["veri776"]
    assert (row.identities, row.images) == ((576, 200, 200), (37778, 1678, 11579))
