"""A page that a recipe serves, and requests to it."""

import http.client
import threading
from contextlib import contextmanager

import pytest

from tests.scripts import load


@contextmanager
def served(make_server):
    """Serves a page. Yields its port. `make_server` returns the server on an open socket."""
    pytest.importorskip("starlette", reason="needs Starlette, of the extra demo")
    pytest.importorskip("uvicorn", reason="needs uvicorn, of the extra demo")
    with load("recipes/local_page.py").listen(0) as listening:
        server = make_server(listening)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def ask(port, method, path, body=b"", length=None, **headers):
    """(status, headers, body) of an answer to a body, or to a request that announces one of some length. `None` as a
    header leaves it out."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}"} | headers
    connection.putrequest(method, path, skip_host=True)
    for name, value in (headers | {"Content-Length": str(length or len(body))}).items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    with answer:
        return answer.status, answer.headers, answer.read()


FOREIGN = {
    "a page of another site": {"Origin": "https://evil.example"},
    "a name that points to this machine": {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
    "a name without its port": {"Host": "evil.example", "Origin": "http://evil.example"},
    "another port of this machine": {"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:1"},
    "this machine, without the port": {"Host": "127.0.0.1", "Origin": "http://127.0.0.1"},
    "a page without an origin": {"Origin": "null"},
    "no page": {"Origin": None},
    "nobody": {"Host": None, "Origin": None},
}
