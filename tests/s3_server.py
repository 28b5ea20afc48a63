"""A server of one bucket that speaks enough of S3 for readers: HEAD, GET with ranges, and lists; also with faults.

Over plain HTTP, an object is `http://127.0.0.1:PORT/BUCKET/KEY`.
"""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000  # objects in a page of a list, as in S3
UNCHANGED = "Mon, 01 Jan 2024 00:00:00 GMT"


@dataclass
class Store:
    """The objects of a bucket, and how they are served.

    Args:
        objects: Contents of the objects by their keys.
        bucket: Name of the bucket.
        faults: What goes wrong with a key: one word for each GET of it, in order; the last holds for all further ones.
            refused     403 Access Denied, also to HEAD
            gone        listed, but 404 for GET
            cut         the connection ends after half of the body
            silent      nothing follows half of the body
            slow        the body comes in 20 parts, with a pause of `pause` seconds before each
            busy        503 Slow Down
            longer      the object is longer than it was listed
            well        nothing
        latency: Seconds before each answer.
        headers: Headers of all answers with an object, besides those of HTTP.
        refuses_lists: Whether lists are answered by 403.
        authorization: The header without which requests are answered by 401.
    """

    objects: dict[str, bytes]
    bucket: str = "tables"
    faults: dict[str, list[str]] = field(default_factory=dict)
    latency: float = 0
    pause: float = 0.05
    headers: dict[str, str] = field(default_factory=lambda: {"Last-Modified": UNCHANGED})
    refuses_lists: bool = False
    authorization: str = ""
    requests: list[str] = field(default_factory=list)
    """The method, the path, and the range of each request so far."""
    bytes_sent: int = 0
    settings: str = ""
    """What follows the name in a URL: s3://bucket/key{settings}."""
    web: str = ""
    """What precedes a key in a URL: {web}/key."""
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, key: str, is_get: bool) -> str:
        """Returns what goes wrong with a request for a key."""
        with self.lock:
            words = self.faults.get(key, ["well"])
            return words.pop(0) if is_get and len(words) > 1 else words[0]


class Handler(BaseHTTPRequestHandler):
    """Answers requests for the objects of a store."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet
    store: Store

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        store, parts, wanted = self.store, urlsplit(self.path), self.headers.get("Range", "")
        with store.lock:
            store.requests.append(" ".join(filter(None, (self.command, parts.path, wanted))))
        time.sleep(store.latency)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        fault = store.fault(key, self.command == "GET")
        content = store.objects.get(key, b"") + (b"1,2\n" if fault == "longer" and self.is_late(key) else b"")
        if store.authorization not in ("", self.headers.get("Authorization")):
            self.answer(401, error("Unauthorized"))
        elif bucket != store.bucket:
            self.answer(404, error("NoSuchBucket"))
        elif fault == "refused" or (not key and store.refuses_lists):
            self.answer(403, error("AccessDenied"))
        elif fault == "busy":
            self.answer(503, error("SlowDown"))
        elif not key:
            self.answer(200, listing(store, query))
        elif key not in store.objects or (fault == "gone" and self.command == "GET"):
            self.answer(404, error("NoSuchKey"))
        elif wanted.startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else max(0, len(content) - int(last))
            part = content[start : int(last) + 1] if first and last else content[start:]
            place = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(content)}"}
            self.answer(206, part, {**place, "ETag": etag(content), **store.headers}, fault)
        else:
            self.answer(200, content, {"ETag": etag(content), **store.headers}, fault)

    def is_late(self, key: str) -> bool:
        """Says whether the object has been asked for before."""
        return sum(request.split()[1].endswith(f"/{key}") for request in self.store.requests) > 1

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None, fault: str = "well") -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), "x-amz-bucket-region": "us-east-1", **(headers or {})}
        for name, value in {"Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self.send(content, fault)
        except OSError:  # the reader has gone
            self.close_connection = True

    def send(self, content: bytes, fault: str) -> None:
        if fault in ("cut", "silent"):
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            if fault == "silent":
                self.store.ended.wait()
        elif fault == "slow":
            size = -(-len(content) // 20)
            for start in range(0, len(content), size):
                time.sleep(self.store.pause)
                self.wfile.write(content[start : start + size])
                self.wfile.flush()
        else:
            self.wfile.write(content)
            with self.store.lock:
                self.store.bytes_sent += len(content)

    def log_message(self, *args: Any) -> None:
        """Prints nothing."""


def listing(store: Store, query: dict[str, str]) -> bytes:
    """Returns a page of the keys below a prefix, in order; the token of the next page is the last name of this one."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    names = dict[str, bool]()  # whether each is a folder
    for key in sorted(each for each in store.objects if each.startswith(prefix)):
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        names[f"{prefix}{head}{delimiter}" if found else key] = bool(found)
    token, size = query.get("continuation-token", ""), min(PAGE, int(query.get("max-keys", PAGE)))
    rest = [name for name in sorted(names) if name > token]
    page, is_cut = rest[:size], len(rest) > size
    entries = [
        f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
        if names[name]
        else f"<Contents><Key>{escape(name)}</Key><Size>{len(store.objects[name])}</Size>"
        f"<ETag>{escape(etag(store.objects[name]))}</ETag><LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
        for name in page
    ]
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if is_cut else ""
    return (
        f"<ListBucketResult><Name>{store.bucket}</Name><KeyCount>{len(page)}</KeyCount><MaxKeys>{size}</MaxKeys>"
        f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}{''.join(entries)}</ListBucketResult>"
    ).encode()


@cache
def etag(content: bytes) -> str:
    """Returns the name of a content, as S3 makes it."""
    return f'"{hashlib.md5(content).hexdigest()}"'


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


class Server(ThreadingHTTPServer):
    """Serves each connection in a thread of its own."""

    request_queue_size = 128
    daemon_threads = True


@contextmanager
def served(store: Store) -> Iterator[Store]:
    """Serves the objects of a store on a free port of this machine."""
    with Server(("127.0.0.1", 0), type("StoreHandler", (Handler,), {"store": store})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        host = f"127.0.0.1:{server.server_port}"
        store.settings = f"?endpoint_override={host}&scheme=http&region=us-east-1"
        store.web = f"http://{host}/{store.bucket}"
        yield store
        store.ended.set()
        server.shutdown()
