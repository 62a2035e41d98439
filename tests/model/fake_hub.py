"""A small Hugging Face hub on loopback: as much of its HTTP interface as pushing and fetching a model takes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secret"


@dataclass
class Repository:
    """Commits (files by path) by their id, and the commits that branches and tags stand for."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Put a commit on a branch: what was there, and `files`."""
        self.refs[branch] = self.put(self.commits.get(self.refs.get(branch, ""), {}) | files)
        return self.refs[branch]

    def put(self, files: dict[str, bytes]) -> str:
        """Put a commit of these files alone, and return its id."""
        name = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[name] = files
        return name


class FakeHub(ThreadingHTTPServer):
    """The server: what it holds, and the files that it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        """For `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A running hub."""
    with FakeHub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            name, what, revision = found.groups()
            if (commit := self._commit(name, revision or "main")) is not None:
                files = self.server.repositories[name].commits[commit]
                listed = [{"rfilename": path} for path in files]
                info = {"_id": "0", "id": name, "modelId": name, "sha": commit, "siblings": listed, "tags": []}
                tree = [{"type": "file", "path": p, "size": len(c), "oid": _oid(c)} for p, c in files.items()]
                self._send(200, tree if what == "tree" else info)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name, revision, file = found.groups()
            if (commit := self._commit(name, revision)) is not None:
                content = self.server.repositories[name].commits[commit].get(file)
                if content is None:
                    self._fail(404, "EntryNotFound")
                    return
                if self.command == "GET":
                    self.server.fetched.append(file)
                self._send(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": commit})
        else:
            self._fail(404, "RepoNotFound")

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._fail(401, "")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            made = Repository(private=bool(asked.get("private") or asked.get("visibility") == "private"))
            self.server.repositories.setdefault(name, made)
            self._send(200, {"url": f"{self.server.url}/{name}", "name": name, "id": name})
        elif path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self._send(200, {"files": modes})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            parts = [json.loads(line) for line in body.splitlines()]
            files = {
                part["value"]["path"]: base64.b64decode(part["value"]["content"])
                for part in parts
                if part["key"] == "file"
            }
            commit = self.server.repositories[found[1]].commit(files)
            url = f"{self.server.url}/{found[1]}/commit/{commit}"
            self._send(200, {"success": True, "commitOid": commit, "commitUrl": url})
        else:
            self._fail(404, "RepoNotFound")

    def _commit(self, name: str, revision: str) -> str | None:
        """The commit that a revision stands for; None, and an answer, where there is none to be seen."""
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            self._fail(401, "RepoNotFound")
            return None
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            self._fail(404, "RevisionNotFound")
            return None
        return commit

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _fail(self, status: int, code: str) -> None:
        self._send(status, {"error": code}, {"X-Error-Code": code} if code else {})

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\x00" % len(content) + content).hexdigest()
