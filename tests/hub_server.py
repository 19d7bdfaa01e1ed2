"""A stand-in for the Hugging Face Hub: an HTTP server with repos, as its pinned client speaks."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

OWNERS = {"hf_of_ann": "ann", "hf_reads_only": ""}  # who may write where, by token
PIPELINES = {
    *("text-classification", "token-classification", "question-answering", "text-generation"),
    *("text2text-generation", "image-classification", "sentence-similarity", "fill-mask"),
}
ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class Hub:
    """What the stand-in holds.

    Attributes:
        url: where it listens.
        repos: of each repo whether it is private, and its files; large ones by their digest.
        blobs: large files by digest.
        sent: digests of the large files in the order in which they came.
        refuses: the large files are refused after this many; None for none.
    """

    def __init__(self) -> None:
        self.url = ""
        self.repos: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.refuses: int | None = None

    def content(self, repo: str, path: str) -> bytes:
        """A file of a repo."""
        found = self.repos[repo]["files"][path]
        return self.blobs[found] if isinstance(found, str) else found

    def sha(self, repo: str) -> str:
        """The commit of a repo."""
        return hashlib.sha1(repr(self.repos[repo]["files"]).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers as the Hub does."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        """Sends an answer, of JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        headers = {"Content-Type": kind, "Content-Length": str(len(data)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refused(self, status: int, code: str, message: str) -> None:
        """Sends an error as the Hub words it."""
        self.answer(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def serve(self) -> None:
        """Finds what is asked for."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.path = self.path.partition("?")[0]
        if self.path.startswith("/lfs/"):
            return self.store()
        if self.path == "/api/validate-yaml":
            return self.check_card()
        if token not in OWNERS:
            return self.refused(401, "", "Invalid credentials in Authorization header")
        self.owner = OWNERS[token]
        for form, found in ROUTES.items():
            if match := re.fullmatch(form, self.path):
                repo = match["repo"] if "repo" in match.groupdict() else ""
                if repo and repo not in self.hub.repos:
                    return self.refused(404, "RepoNotFound", "Repository not found")
                return getattr(self, found)(**match.groupdict())
        return self.refused(404, "", "Sorry, we can't find the page you are looking for.")

    do_GET = do_POST = do_PUT = do_HEAD = serve

    def make(self) -> None:
        """Makes a repo."""
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != self.owner:
            said = f'You don\'t have the rights to create a model under the namespace "{repo}"'
            return self.refused(403, "", said)
        if repo in self.hub.repos:
            return self.refused(409, "", "You already created this model repo")
        self.hub.repos[repo] = {"private": asked["visibility"] == "private", "files": {}}
        return self.answer(200, {"url": f"{self.hub.url}/{repo}", "name": repo})

    def check_card(self) -> None:
        """Validates a card by the rules of the Hub's documentation."""
        errors = faults(json.loads(self.body)["content"])
        said = {"errors": [{"message": error} for error in errors], "warnings": []}
        self.answer(400 if errors else 200, said)

    def info(self, repo: str) -> None:
        """What is known of a repo."""
        about = self.hub.repos[repo]
        files = [{"rfilename": name} for name in about["files"]]
        known = {"id": repo, "sha": self.hub.sha(repo), "private": about["private"]}
        self.answer(200, {**known, "siblings": files, "tags": [], "downloads": 0, "likes": 0})

    def preupload(self, repo: str) -> None:
        """Says which files are large."""
        if repo.partition("/")[0] != self.owner:
            return self.refused(403, "", "you may not write here")
        files = []
        for asked in json.loads(self.body)["files"]:
            mode = "lfs" if asked["path"].endswith(".safetensors") else "regular"
            files.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False})
        return self.answer(200, {"files": files})

    def batch(self, repo: str) -> None:
        """Says where large files go; nowhere if they are here."""
        objects = []
        for asked in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}
            is_here = asked["oid"] in self.hub.blobs
            objects.append({**asked, **({} if is_here else {"actions": upload})})
        self.answer(200, {"transfer": "basic", "objects": objects})

    def store(self) -> None:
        """Takes a large file."""
        if self.hub.refuses is not None and len(self.hub.sent) >= self.hub.refuses:
            return self.refused(400, "", "the connection was cut")
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.sent.append(oid)
        self.hub.blobs[oid] = self.body
        return self.answer(200)

    def commit(self, repo: str) -> None:
        """Takes all files of a commit at once."""
        files = dict(self.hub.repos[repo]["files"])
        for line in self.body.splitlines():
            said = json.loads(line)
            value = said["value"]
            if said["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif said["key"] == "lfsFile":
                assert value["oid"] in self.hub.blobs
                files[value["path"]] = value["oid"]
        self.hub.repos[repo]["files"] = files
        sha = self.hub.sha(repo)
        url = f"{self.hub.url}/{repo}/commit/{sha}"
        self.answer(200, {"commitUrl": url, "commitOid": sha, "hookOutput": ""})

    def tree(self, repo: str) -> None:
        """Lists the files of a repo."""
        listed = []
        for path, found in self.hub.repos[repo]["files"].items():
            size, oid = len(self.hub.content(repo, path)), hashlib.sha1(path.encode()).hexdigest()
            large = {"lfs": {"oid": found, "size": size, "pointerSize": 1}}
            listed.append({"type": "file", "path": path, "size": size, "oid": oid})
            listed[-1] |= large if isinstance(found, str) else {}
        self.answer(200, listed)

    def file(self, repo: str, path: str) -> None:
        """Sends a file of a repo."""
        if path not in self.hub.repos[repo]["files"]:
            return self.refused(404, "EntryNotFound", "Entry not found")
        data = self.hub.content(repo, path)
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        return self.answer(200, data, X_Repo_Commit=self.hub.sha(repo), ETag=tag)


REPO = r"(?P<repo>[^/]+/[^/]+)"
ROUTES = {
    "/api/repos/create": "make",
    f"/api/models/{REPO}(?:/revision/[^/]+)?": "info",
    f"/api/models/{REPO}/preupload/main": "preupload",
    f"/api/models/{REPO}/commit/main": "commit",
    f"/api/models/{REPO}/tree/[^/]+": "tree",
    rf"/{REPO}\.git/info/lfs/objects/batch": "batch",
    f"/{REPO}/resolve/[^/]+/(?P<path>.+)": "file",
}


def faults(card: str) -> list[str]:
    """What the Hub refuses in the metadata of a card (huggingface.co/docs/hub/model-cards)."""
    match = re.match(r"---\r?\n([\s\S]*?)\r?\n---\r?\n", card)
    if match is None:
        return ["empty or missing yaml metadata"]
    data = yaml.safe_load(match[1])
    found = [] if data.get("pipeline_tag") in {None, *PIPELINES} else ['"pipeline_tag" is unknown']
    for key in ("base_model", "datasets"):
        value = data.get(key, [])
        names = value if isinstance(value, list) else [value]
        found += [f'"{key}" {name}: use an id' for name in names if not ID.fullmatch(str(name))]
    for key in ("tags", "metrics"):
        if not all(isinstance(item, str) for item in data.get(key, [])):
            found.append(f'"{key}" must be a list of strings')
    for model in data.get("model-index", []):
        found += [] if isinstance(model.get("name"), str) else ['"model-index[0].name" is required']
        for result in model["results"]:
            texts = [result["task"]["type"], result["dataset"]["type"], result["dataset"]["name"]]
            values = [metric.get("value") for metric in result["metrics"]]
            texts += [metric.get("type") for metric in result["metrics"]]
            is_right = all(texts) and all(isinstance(text, str) for text in texts) and values
            if not is_right or not all(isinstance(value, float) for value in values):
                found.append('"model-index[0].results" is invalid')
    return found


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """A stand-in that listens on this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
