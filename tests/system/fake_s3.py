# SPDX-License-Identifier: Apache-2.0
"""An S3 server that misbehaves on request: what radosgw cannot be told to do."""
import hashlib
import http.server
import re
import threading
import time
import urllib.parse


class FakeS3:
    """fault: None, or a word that Handler knows; seen: (method, path, query) of each request."""

    def __init__(self):
        self.objects, self.locks, self.holds, self.parts, self.seen = {}, {}, {}, {}, []
        self.fault, self.versions = None, 0
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def error(self, status, code):
                self.answer(status, f"<Error><Code>{code}</Code></Error>".encode())

            def run(self):
                fake.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = run

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def handle(self, r):
        url = urllib.parse.urlsplit(r.path)
        path, query = urllib.parse.unquote(url.path), dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        body = r.rfile.read(int(r.headers.get("Content-Length") or 0))
        self.seen.append((r.command, path, query))
        assert r.headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
        if self.fault == "503":
            return r.error(503, "SlowDown")
        if self.fault == "record" and path.endswith("/exhibit.json"):
            return r.error(503, "SlowDown")
        if self.fault == "403":
            return r.error(403, "AccessDenied")
        if self.fault == "slow":
            time.sleep(4)
            return None
        if self.fault == "drip":
            r.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                if self.fault != "drip":
                    break
                r.wfile.write(b"x")
                time.sleep(0.3)
            r.close_connection = True
            return None
        if self.fault == "huge":
            return r.answer(200, b"x" * 1_000_000)
        if self.fault == "garbage":
            return r.wfile.write(b"\0\1\2 what is this\r\n\r\n")
        return getattr(self, "on_" + r.command)(r, path, query, body)

    def etag(self, body):
        return '"%s"' % ("0" * 32 if self.fault == "etag" else hashlib.md5(body).hexdigest())

    def store(self, path, body):
        self.versions += 1
        version = f"v{self.versions}"
        self.objects[path, version] = body
        return version

    def on_PUT(self, r, path, query, body):
        if "retention" in query:
            if self.fault != "forgets":
                mode = re.search(rb"<Mode>(.*?)<", body)[1]
                until = re.search(rb"<RetainUntilDate>(.*?)<", body)[1]
                self.locks[path, query["versionId"]] = (mode, until)
            return r.answer(200)
        if "legal-hold" in query:
            if self.fault == "refuses-hold":
                return r.error(403, "AccessDenied")
            self.holds[path, query["versionId"]] = self.fault != "forgets-hold" and b"<Status>ON<" in body
            return r.answer(200)
        if "partNumber" in query:
            self.parts[query["uploadId"], int(query["partNumber"])] = body
            return r.answer(200, ETag=self.etag(body))
        return r.answer(200, ETag=self.etag(body), x_amz_version_id=self.store(path, body))

    def on_POST(self, r, path, query, _body):
        if "uploads" in query:
            return r.answer(200, b"<UploadId>up&amp;1</UploadId>")
        if self.fault == "complete":
            return r.error(200, "InternalError")
        whole = b"".join(self.parts[key] for key in sorted(self.parts) if key[0] == query["uploadId"])
        self.parts = {}
        return r.answer(200, b"<CompleteMultipartUploadResult/>", x_amz_version_id=self.store(path, whole))

    def on_GET(self, r, path, query, _body):
        if "legal-hold" in query:
            on = self.holds.get((path, query["versionId"]), False)
            return r.answer(200, b"<LegalHold><Status>%s</Status></LegalHold>" % (b"ON" if on else b"OFF"))
        if "retention" not in query:
            return r.answer(200, self.objects[path, query["versionId"]])
        if (path, query["versionId"]) not in self.locks:
            return r.error(404, "NoSuchObjectLockConfiguration")
        mode, until = self.locks[path, query["versionId"]]
        return r.answer(200, b"<Retention><Mode>%s</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>"
                        % (mode, until))

    def on_HEAD(self, r, path, query, _body):
        size = len(self.objects[path, query["versionId"]]) - (self.fault == "short")
        return r.answer(200, Content_Length=str(size))

    def on_DELETE(self, r, path, query, _body):
        if self.fault == "deletes" or "uploadId" in query:
            return r.answer(204)
        return r.error(403, "AccessDenied")
