"""Downloads from servers on this machine that fail in every way that servers do."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from keras_osnet.files import cache_folder
from keras_osnet.weights.download import fetch, fetch_url, mirrored

CONTENT = bytes(range(256)) * 2000  # 512 kB: more than one block
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PROGRAM = Path(__file__).parents[1] / "programs" / "fetch_file.py"


class Handler(BaseHTTPRequestHandler):
    """/good is the file; other paths fail as they say."""

    def do_GET(self):
        server, name = self.server, self.path.strip("/")
        server.asked.append(name)
        if name == "absent":
            return self.send_error(404)
        content = {"other": CONTENT[::-1], "page": b"<html>Quota exceeded</html>"}.get(name, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) - 100 if name == "shorter" else len(content)))
        self.end_headers()
        if name == "shorter":
            content = content[:-100]
        if name == "stops":  # the connection ends in the middle
            content = content[: len(content) // 2]
        if name in ("silent", "slow"):
            self.wfile.write(content[:1000])
            for byte in content[1000:1400]:
                if server.ended.wait(60 if name == "silent" else 0.02):
                    return None
                self.wfile.write(bytes([byte]))
            return None
        if name == "paced":  # slow enough for a second process to come, or to be killed
            for start in range(0, len(content), 2**15):
                self.wfile.write(content[start : start + 2**15])
                if server.ended.wait(0.1):
                    return None
            return None
        self.wfile.write(content)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.ended = [], threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_OSNET_MIRROR", raising=False)
    return tmp_path / "cache"


def left_in(cache):
    """Files of the cache but for the lock, which stays."""
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_downloaded_once(server, cache):
    for _ in range(2):
        path = fetch("f.pth", [server.url + "good"], sha256=SHA256, size=len(CONTENT))
        assert path == cache / "f.pth"
        assert path.read_bytes() == CONTENT
    assert server.asked == ["good"]
    assert left_in(cache) == ["f.pth"]


# Server path, and what the error says of it.
FAILURES = {
    "absent": "404",
    "other": "its SHA-256 is",
    "shorter": "it has 511,900 bytes, not 512,000",
    "stops": "ended after|IncompleteRead",
    "silent": "timed out",
    "slow": "slower than 1,024 bytes/s",
}


@pytest.mark.parametrize("name", FAILURES)
def test_an_address_that_fails_is_named_and_leaves_nothing_behind(name, server, cache):
    address = server.url + name
    with pytest.raises(OSError, match=rf"(?s)f\.pth \(512,000 bytes\).*{address} \(.*({FAILURES[name]})") as error:
        fetch("f.pth", [address], sha256=SHA256, size=len(CONTENT), timeout=0.5)
    assert str(cache / "f.pth") in str(error.value)  # where to put it by hand
    assert left_in(cache) == []


@pytest.mark.parametrize("name", FAILURES)
def test_the_next_address_is_tried_when_one_fails(name, server, cache):
    path = fetch("f.pth", [server.url + name, server.url + "good"], sha256=SHA256, size=len(CONTENT), timeout=0.5)
    assert path.read_bytes() == CONTENT
    assert server.asked == [name, "good"]
    assert left_in(cache) == ["f.pth"]


def refuse_pages(path):
    if path.read_bytes().startswith(b"<"):
        raise ValueError("it is a page")


def test_a_file_of_unknown_hash_gets_its_hash_written_beside_it_and_damage_is_noticed(server, cache):
    addresses = [server.url + "page", server.url + "good"]
    path = fetch("f.pth", addresses, check=refuse_pages)
    assert (cache / "f.pth.sha256").read_text() == f"{SHA256}  f.pth\n"
    assert server.asked == ["page", "good"]
    path.write_bytes(CONTENT[:-1] + b"?")
    assert fetch("f.pth", addresses, check=refuse_pages).read_bytes() == CONTENT
    assert server.asked == ["page", "good"] * 2
    assert left_in(cache) == ["f.pth", "f.pth.sha256"]


def test_a_damaged_file_of_known_hash_is_fetched_again(server, cache):
    path = fetch("f.pth", [server.url + "good"], sha256=SHA256)
    path.write_bytes(b"damaged")
    assert fetch("f.pth", [server.url + "good"], sha256=SHA256).read_bytes() == CONTENT


def test_a_file_that_was_put_there_by_hand_is_taken(cache):
    cache.mkdir()
    (cache / "f.pth").write_bytes(CONTENT)
    nowhere = ["http://127.0.0.1:9/f.pth"]
    assert fetch("f.pth", nowhere, check=refuse_pages) == cache / "f.pth"
    assert (cache / "f.pth.sha256").read_text() == f"{SHA256}  f.pth\n"
    (cache / "page.pth").write_bytes(b"<html>")
    with pytest.raises(OSError, match=r"page\.pth"):
        fetch("page.pth", nowhere, check=refuse_pages)


def test_without_a_network_the_error_says_what_to_do(cache):
    addresses = ["http://127.0.0.1:9/a", "http://host.invalid/b"]
    with pytest.raises(OSError, match="cannot be downloaded") as error:
        fetch("f.pth", addresses, sha256=SHA256, size=2_462_783)
    assert all(part in str(error.value) for part in (*addresses, "2,462,783 bytes", str(cache / "f.pth")))


@pytest.mark.parametrize("content", [b"damaged", None])
def test_without_a_network_the_error_says_if_the_file_that_is_there_is_not_the_right_one(content, cache):
    cache.mkdir()
    if content:
        (cache / "f.pth").write_bytes(content)
    with pytest.raises(OSError, match="It can be put there by hand") as error:
        fetch("f.pth", ["http://127.0.0.1:9/a"], sha256=SHA256)
    assert ("What is there is damaged, or another file." in str(error.value)) == bool(content)


def test_files_of_one_name_at_two_addresses_do_not_meet(server, cache):
    first, second = fetch_url(server.url + "good?a"), fetch_url(server.url + "good?b")
    assert first != second
    assert first.name.endswith("-good")
    assert fetch_url(server.url + "good?a") == first


def test_a_long_name_of_an_address_keeps_its_end(server, cache):
    path = fetch_url(f"{server.url}{'n' * 300}.pth")
    assert path.read_bytes() == CONTENT
    assert path.name.endswith("nnn.pth")
    assert fetch_url(f"{server.url}{'n' * 301}.pth") != path


@pytest.mark.parametrize("address", ["https:/nothing", "nonsense", "http://127.0.0.1:99999999/x"])
def test_an_address_that_is_none_is_an_error(address, cache):
    with pytest.raises(OSError, match="cannot be downloaded"):
        fetch("f.pth", [address], sha256=SHA256)


def test_the_mirror_comes_first(server, cache, monkeypatch):
    monkeypatch.setenv("KERAS_OSNET_MIRROR", server.url)
    addresses = mirrored(["http://127.0.0.1:9/f"], "absent", "good")
    assert addresses == [server.url + "absent", server.url + "good", "http://127.0.0.1:9/f"]
    assert fetch("f.pth", addresses, sha256=SHA256).read_bytes() == CONTENT


def test_a_mirror_may_be_a_folder(cache, tmp_path, monkeypatch):
    (tmp_path / "a b.pth").write_bytes(CONTENT)
    monkeypatch.setenv("KERAS_OSNET_MIRROR", tmp_path.as_uri())
    assert fetch("f.pth", mirrored([], "a b.pth"), sha256=SHA256).read_bytes() == CONTENT


def test_the_cache_folder_is_in_the_home_folder_by_default(monkeypatch):
    monkeypatch.delenv("KERAS_OSNET_CACHE", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "keras_osnet"


def process(url, cache, largest=0, user=-1):
    environment = {**os.environ, "KERAS_OSNET_CACHE": str(cache)}
    command = [sys.executable, str(PROGRAM), url, SHA256, str(largest), str(user)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_two_processes_at_once_download_one_file(server, cache):
    both = [process(server.url + "paced", cache) for _ in range(2)]
    assert [one.communicate(timeout=60)[0].decode().strip() for one in both] == [str(cache / "f.pth")] * 2
    assert server.asked == ["paced"]


def test_a_download_that_was_killed_starts_again_and_its_rest_is_removed(server, cache):
    one = process(server.url + "paced", cache)
    end = time.monotonic() + 60
    while not list(cache.glob(".f.pth.*.tmp")) and time.monotonic() < end:
        time.sleep(0.02)
    one.send_signal(signal.SIGKILL)
    one.communicate(timeout=60)
    assert left_in(cache)[0].endswith(".tmp")
    assert fetch("f.pth", [server.url + "good"], sha256=SHA256).read_bytes() == CONTENT
    assert left_in(cache) == ["f.pth"]


def test_a_full_disk_is_an_error_that_leaves_nothing_behind(server, cache):
    out, error = process(server.url + "good", cache, largest=200_000).communicate(timeout=60)
    assert b"cannot be kept in the cache folder" in error
    assert b"KERAS_OSNET_CACHE" in error
    assert not out.strip()
    assert left_in(cache) == []


@pytest.fixture
def public(monkeypatch):
    """A cache folder that every user may read; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setenv("KERAS_OSNET_CACHE", f"{folder}/cache")
        yield Path(folder) / "cache"
        Path(folder, "cache").chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the permissions of POSIX")
def test_a_cache_that_is_read_only_is_read_and_a_missing_file_named(server, public):
    path = fetch("f.pth", [server.url + "good"], sha256=SHA256)
    (public / ".f.pth.lock").unlink(missing_ok=True)
    public.chmod(0o555)
    # Root may write anywhere: be another user, who has to read Python's library too.
    if os.geteuid() == 0 and any(folder.stat().st_mode & 0o5 != 0o5 for folder in Path(os.__file__).parents):
        pytest.skip("another user may not read Python's library")
    user = 65534 if os.geteuid() == 0 else -1
    out, error = process(server.url + "good", public, user=user).communicate(timeout=60)
    assert (out.decode().strip(), server.asked) == (str(path), ["good"]), error.decode()
    public.chmod(0o755)
    path.write_bytes(b"damaged")
    public.chmod(0o555)
    out, error = process(server.url + "good", public, user=user).communicate(timeout=60)
    assert b"cannot be kept in the cache folder, which $KERAS_OSNET_CACHE moves" in error
    assert (server.url + "good").encode() in error
