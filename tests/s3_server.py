"""A server of one bucket that speaks enough of S3 for readers: HEAD, GET with ranges, and lists of objects."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Handler(BaseHTTPRequestHandler):
    """Answers requests for the server's objects."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    bucket: str
    requests: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.requests.append(f"{self.command} {parts.path}")
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if bucket != self.bucket:
            self.answer(404, error("NoSuchBucket"))
        elif not key:
            self.answer(200, self.listing(query))
        elif key not in self.objects:
            self.answer(404, error("NoSuchKey"))
        elif (wanted := self.headers.get("Range", "")).startswith("bytes="):
            content = self.objects[key]
            first, last = (int(each) for each in wanted.removeprefix("bytes=").split("-"))
            part = content[first : last + 1]
            self.answer(206, part, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"})
        else:
            self.answer(200, self.objects[key])

    def listing(self, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], dict[str, None]()
        for key in sorted(each for each in self.objects if each.startswith(prefix)):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if found:
                folders[f"{prefix}{head}{delimiter}"] = None
            else:
                keys.append(key)
        entries = [
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size>"
            f"<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in keys
        ]
        entries += [f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in folders]
        return (
            f"<ListBucketResult><Name>{self.bucket}</Name><KeyCount>{len(entries)}</KeyCount><MaxKeys>1000</MaxKeys>"
            f"<IsTruncated>false</IsTruncated>{''.join(entries)}</ListBucketResult>"
        ).encode()

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), "x-amz-bucket-region": "us-east-1", **(headers or {})}
        headers |= {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "ETag": '"1"', "Accept-Ranges": "bytes"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Prints nothing."""


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


@contextmanager
def s3_server(bucket: str, objects: dict[str, bytes], requests: list[str] | None = None) -> Iterator[str]:
    """Serves objects, and yields what follows the name in a URL: s3://bucket/key{…}. Appends to `requests`."""
    attributes = {"bucket": bucket, "objects": objects, "requests": [] if requests is None else requests}
    handler = type("BucketHandler", (Handler,), attributes)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"?endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
        server.shutdown()
