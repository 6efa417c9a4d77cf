"""Servers on this machine."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(files, **headers):
    """Serves files (path without the first slash -> bytes). Yields the address; `asked` lists the paths in order."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            name = self.path.lstrip("/")
            content = files.get(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            return content or b""

        def do_GET(self):
            asked.append(self.path.lstrip("/"))
            self.wfile.write(self.do_HEAD())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
