#!/usr/bin/env bash
# Runs a Python program on an emulated ARM processor, with LiteRT, NumPy, Pillow and keras_osnet, without Keras.
#
#   tflite/arm.sh tflite/run.py osnet.tflite query.jpg gallery_folder/
#   ARM_CPU=cortex-a53 tflite/arm.sh tflite/run.py osnet.tflite query.jpg gallery_folder/
#
# ARM_CPU is a processor of QEMU; default neoverse-n1. The first run downloads 85 MB of packages from Debian and 35 MB of
# wheels, and unpacks them into $KERAS_OSNET_CACHE/arm-trixie, or ~/.cache/keras_osnet/arm-trixie. It needs Debian on
# x86-64 and Python with pip, but no root. The wheels have the versions of that Python's packages, where it has them. The
# program cannot start other programs, as tflite/benchmark.py does.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$(realpath -m "${KERAS_OSNET_CACHE:-$HOME/.cache/keras_osnet}")   # apt is called from another folder
# The QEMU 7.2 of Debian 12 computes int8 wrongly. Each release has a folder of its own.
release=trixie python=3.13 folder=$cache/arm-trixie

# Unpacks packages of $release, which need not be this system's, with package lists of their own.
unpack_debian() {
    local address keys=/usr/share/keyrings/debian-archive-keyring.gpg work=$1
    address=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $VERSION_CODENAME" | head -n 1)
    mkdir -p "$work"/{state/lists/partial,cache/archives/partial,packages,system}
    echo "deb [arch=amd64,arm64 signed-by=$keys] $address $release main" >"$work/sources.list"
    cat >"$work/apt.conf" <<END
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$work/state";
Dir::State::status "/dev/null";
Dir::Cache "$work/cache";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
END
    export APT_CONFIG=$work/apt.conf
    apt-get -qq update
    local libraries=(c6 gcc-s1 stdc++6 expat1 ffi8 bz2-1.0 lzma5 sqlite3-0 ssl3t64 uuid1)
    libraries+=("python$python-minimal" "python$python-stdlib")
    local names=("${libraries[@]/#/lib}" zlib1g "python$python-minimal")
    (cd "$work/packages" && apt-get -qq download qemu-user:amd64 "${names[@]/%/:arm64}")
    local package
    for package in "$work"/packages/*_arm64.deb; do dpkg -x "$package" "$work/system"; done
    ln -sfn usr/lib "$work/system/lib"
    dpkg --fsys-tarfile "$work"/packages/qemu-user_*.deb | tar -x -C "$work" --strip-components 3 ./usr/bin/qemu-aarch64
    rm -r "$work"/{state,cache,packages,sources.list,apt.conf}
}

# Names of the packages, with the version that the Python of this system has.
wheels() {
    python3 - <<'END'
from importlib.metadata import PackageNotFoundError, version
for name in ("ai-edge-litert", "numpy", "pillow"):
    try:
        print(f"{name}=={version(name)}")
    except PackageNotFoundError:
        print(name)
END
}

if [ ! -x "$folder/qemu-aarch64" ]; then
    . /etc/os-release
    if [ "$ID $(uname -m)" != "debian x86_64" ]; then
        echo "arm.sh needs Debian on x86-64, for example in a container. This is $ID on $(uname -m)." >&2
        exit 1
    fi
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/arm-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "arm.sh: unpacking an ARM system into $folder" >&2
    unpack_debian "$work"
    mapfile -t packages < <(wheels)
    platforms=(--platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64)
    python3 -m pip install -q --disable-pip-version-check --root-user-action ignore --target "$work/site" \
        --only-binary :all: --python-version "$python" "${platforms[@]}" "${packages[@]}"
    mv -T "$work" "$folder" 2>/dev/null || [ -x "$folder/qemu-aarch64" ]   # or another process was faster
    rm -rf "$work"   # `exec` below runs no trap
fi

export PYTHONHOME=$folder/system/usr PYTHONPATH=$folder/site:$repository PYTHONDONTWRITEBYTECODE=1
exec "$folder/qemu-aarch64" -cpu "${ARM_CPU:-neoverse-n1}" -L "$folder/system" "$folder/system/usr/bin/python$python" "$@"
