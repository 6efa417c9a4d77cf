"""An int8 file on emulated ARM processors has the features and the first hits of this machine."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.data.drawn.synthetic import SyntheticSettings, load
from keras_osnet.export import to_tflite
from keras_osnet.export.calibration import drawn_images
from keras_osnet.files import cache_folder
from tests.scripts import ROOT
from tests.scripts import load as script

ARM = script("benchmarks/arm.py")
SYSTEM = cache_folder() / "arm-trixie"
PEOPLE = SyntheticSettings(train_identities=1, test_identities=5, distractors=20)


@pytest.mark.skipif(not SYSTEM.exists(), reason=f"{SYSTEM} is missing: tflite/arm.sh makes it")
def test_an_int8_file_finds_the_same_people_on_emulated_arm_processors(tmp_path):
    file = tmp_path / "people.tflite"
    model = OSNet.from_preset("osnet_x0_25_people")
    to_tflite(model, file, quantization="int8", calibration=drawn_images(model.input_shape[1:]))
    query, gallery = ARM.choose(load(tmp_path, PEOPLE), 6, 14)
    paths = [record.path for record in (*query, *gallery)]
    here = FeatureExtractor(file)(paths)
    for cpu in ("cortex-a53", "neoverse-n1"):  # without dot products of bytes, and with them
        there = ARM.features_on(cpu, file, paths)
        assert there.shape == (20, 512)
        cosines = (here * there).sum(1) / np.linalg.norm(here, axis=1) / np.linalg.norm(there, axis=1)
        assert cosines.min() > 0.999
        assert (ARM.first_hits(here, 6) == ARM.first_hits(there, 6)).all()
    # CompiledModel would end the process on a processor without atomic instructions.
    run = [ROOT / "tflite" / "arm.sh", ROOT / "tflite" / "run.py", file, paths[-1], Path(paths[-1]).parent]
    done = subprocess.run(run, env={**os.environ, "ARM_CPU": "cortex-a53"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(paths[-1]).name in done.stdout.splitlines()[1]


def test_the_choice_holds_matches_and_strangers(tmp_path):
    query, gallery = ARM.choose(load(tmp_path, PEOPLE), 6, 14)
    known = {record.identity for record in query}
    assert (len(query), len(gallery)) == (6, 14)
    assert sum(record.identity in known for record in gallery) == 7
    assert len({record.path for record in (*query, *gallery)}) == 20


def test_a_row_counts_equal_features_and_first_hits(tmp_path):
    query, gallery = ARM.choose(load(tmp_path, PEOPLE), 2, 3)
    here = np.float32([[1, 0], [0, 1], [1, 0.1], [0.1, 1], [-1, 0]])
    there = here.copy()
    there[1] = 1, 0.2  # the second query now finds the first gallery image
    cosine, equal, changed, *_ = ARM.compare(here, there, query, gallery)
    assert (cosine, equal, changed) == (f"{0.2 / 1.04**0.5:.6f}", "4 of 5", "1 of 2")


def test_a_program_that_fails_is_an_error_with_its_words(tmp_path, monkeypatch):
    monkeypatch.setattr(ARM, "ARM", tmp_path / "arm.sh")
    (tmp_path / "arm.sh").write_text('#!/bin/sh\necho "no $ARM_CPU here" >&2\nexit 3\n')
    (tmp_path / "arm.sh").chmod(0o755)
    with pytest.raises(RuntimeError, match=r"cortex-a53 failed:\nno cortex-a53 here"):
        ARM.features_on("cortex-a53", tmp_path / "a.tflite", [])


def test_another_system_than_debian_is_refused_before_anything_is_written(tmp_path):
    # The script reads /etc/os-release: `uname` stands for another machine.
    (tmp_path / "uname").write_text("#!/bin/sh\necho riscv64\n")
    (tmp_path / "uname").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "KERAS_OSNET_CACHE": str(tmp_path / "cache"), "HOME": "/"}
    done = subprocess.run([ROOT / "tflite" / "arm.sh", "-c", "pass"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs Debian on x86-64" in done.stderr
    assert "on riscv64" in done.stderr
    assert not (tmp_path / "cache").exists()
