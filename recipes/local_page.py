"""A page that is served on this machine only and answers only itself. Scripts that show a page import this module."""

import base64
import io
import socket
import sys
import webbrowser

import tyro
from PIL import Image

CONNECTIONS = 32
SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def own_page_only(app, port):
    """Refuses what other pages ask, before their request is read.

    The browser names the page in Origin for all methods but GET, which returns the empty page only. The check of Host
    stops a page whose own name is made to point to this machine (DNS rebinding): for it, Host and Origin agree.
    """
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.responses import PlainTextResponse

    hosts = [f"{name}:{port}" if port != 80 else name for name in ("127.0.0.1", "localhost")]

    async def checked(scope, receive, send):
        headers = Headers(scope=scope)
        host = headers.get("host")
        if host not in hosts or (scope["method"] != "GET" and headers.get("origin") != f"http://{host}"):
            return await PlainTextResponse("Only the page itself may ask.", 403)(scope, receive, send)

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        await app(scope, receive, send_with_headers)

    return checked


def listen(port):
    """A socket on this machine's own address, opened before anything is computed."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise ValueError(f"`port` must be a free port. Received: port={port} ({error})") from error


def server_of(app, listening):
    """The server of an ASGI application on an open socket; `run(sockets=[listening])` serves until Ctrl-C or
    SIGTERM."""
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            own_page_only(app, listening.getsockname()[1]), log_level="warning", lifespan="off", ws="none",
            proxy_headers=False, server_header=False, limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=1,
        )
    )  # fmt: skip


def serve(server, listening, open_page):
    """Prints the address, opens it in the browser if asked to, and serves until Ctrl-C or SIGTERM."""
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    print(f"{address} (Ctrl-C ends it)", flush=True)
    if open_page:
        webbrowser.open(address)
    server.run(sockets=[listening])


def encoded(image):
    """(h, w, 3) uint8 as the data URL of a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def run(main, options, description):
    """Calls a script's `main` with the options of its command line. What goes wrong is one line."""
    try:
        main(tyro.cli(options, description=description))
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, MemoryError) as error:
        sys.exit(f"error: {str(error) or type(error).__name__}")
    except ImportError as error:  # others name what to install
        page = error.name in ("starlette", "uvicorn")
        sys.exit(f"error: {error}" + ". The page needs Starlette and uvicorn: pip install 'keras-osnet[demo]'" * page)
