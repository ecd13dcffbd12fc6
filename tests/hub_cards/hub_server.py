"""A server that speaks as much of the Hub's HTTP interface as creating, pushing and loading need."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

from hub_cards.licences import HUB_LICENCES

_LFS_BYTES = 20_000
_KINDS = {"models": "model", "spaces": "space", "datasets": "dataset"}


@dataclass
class Repository:
    private: bool = False
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b""})
    commits: list[str] = field(default_factory=lambda: ["0" * 40])
    tags: dict[str, "Repository"] = field(default_factory=dict)

    def at(self, revision: str | None) -> "Repository":
        """The repository as it was at a tag or at its commit; as it is now for anything else."""
        named = self.tags | {tagged.commits[-1]: tagged for tagged in self.tags.values()}
        return named.get(revision or "main", self)


@dataclass
class Hub:
    """What the server holds; a test looks at it and changes it.

    `rights`: token to the namespaces that it may write to. `broken_uploads`: how many uploads break off from now on.
    `faults`: file name to what the next requests for its content get: a status such as 429, or "half" of it; then it is sent.
    """

    rights: dict[str, list[str]] = field(default_factory=lambda: {"hf_good": ["org", "me"], "hf_reader": []})
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    broken_uploads: int = 0
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    address: str = ""

    def model(self, name: str) -> Repository:
        return self.repositories["model", name]


def card_problems(content: str, kind: str) -> list[str]:
    """What the Hub would refuse in a card's metadata."""
    header = re.match(r"---\n(.*?)\n---", content, re.DOTALL)
    if header is None:
        return []
    data = yaml.safe_load(header.group(1))
    problems = []
    if kind == "model":
        for code in data.get("language", []):
            if not re.fullmatch(r"[a-z]{2,3}|code|multilingual", str(code)):
                problems.append(f'"language[0]" must only contain lowercase characters; got {code}')
        if data.get("license") is not None and data["license"] not in HUB_LICENCES:
            problems.append(f'"license" must be one of {sorted(HUB_LICENCES)[:3]} …')
        if data.get("license") == "other" and not data.get("license_name"):
            problems.append('"license_name" is required with license other')
        base = data.get("base_model")
        if base is not None and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(base)):
            problems.append('"base_model" is not a valid model id')
        for entry in data.get("model-index", []):
            for result in entry["results"]:
                if not result.get("task", {}).get("type") or not {"name", "type"} <= set(result.get("dataset", {})):
                    problems.append('"model-index[0].results[0]" needs task.type, dataset.name and dataset.type')
                if any("type" not in m or "value" not in m for m in result["metrics"]):
                    problems.append('"metrics" need type and value')
    if kind == "space":
        problems += [f'"{key}" is required' for key in ("sdk", "app_file", "title") if key not in data]
        if data.get("colorFrom") not in ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"):
            problems.append('"colorFrom" must be one of [red, yellow, green, blue, indigo, purple, pink, gray]')
    return problems


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, value, status=200, **headers):
        self._send(json.dumps(value).encode(), status, **{"Content-Type": "application/json"} | headers)

    def _send(self, content: bytes, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status, message, code=""):
        self._json({"error": message}, status, X_Error_Message=message, **({"X_Error_Code": code} if code else {}))

    @property
    def _token(self):
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _route(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        return path

    def _repository(self, kind, name):
        found = self.hub.repositories.get((kind, name))
        if found is None or (found.private and self._token not in self.hub.rights):
            self._refuse(404, "Repository not found", "RepoNotFound")
            return None
        return found

    def _may_write(self, name):
        if self._token not in self.hub.rights:
            self._refuse(401, "Invalid username or password.")
        elif name.split("/")[0] not in self.hub.rights[self._token]:
            self._refuse(403, f"You don't have the rights to write to {name}")
        else:
            return True
        return False

    def do_POST(self):
        path, body = self._route(), self._body()
        if path == "/api/repos/create":
            values = json.loads(body)
            name = f"{values.get('organization') or 'me'}/{values['name']}"
            kind = values.get("type", "model")
            if not self._may_write(name):
                return None
            url = f"{self.hub.address}/{'spaces/' if kind == 'space' else ''}{name}"
            if (kind, name) in self.hub.repositories:
                return self._json({"error": "You already created this repo", "url": url}, 409)
            self.hub.repositories[kind, name] = Repository(values.get("visibility") == "private" or bool(values.get("private")))
            return self._json({"url": url, "name": name})
        if path == "/api/validate-yaml":
            values = json.loads(body)
            problems = [{"message": problem} for problem in card_problems(values["content"], values["repoType"])]
            return self._json({"errors": problems, "warnings": []}, 400 if problems else 200)
        if match := re.fullmatch(r"/(spaces/|datasets/)?(.+)\.git/info/lfs/objects/batch", path):
            if not self._may_write(match[2]):
                return None
            objects = []
            for one in json.loads(body)["objects"]:
                if one["oid"] not in self.hub.blobs:
                    one["actions"] = {"upload": {"href": f"{self.hub.address}/blobs/{one['oid']}"}}
                objects.append(one)
            return self._json({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/(\w+)/(.+)/(preupload|commit)/([^/]+)", path):
            kind, name, step, _ = match.groups()
            repository = self._repository(_KINDS[kind], name)
            if repository is None or not self._may_write(name):
                return None
            return self._preupload(body) if step == "preupload" else self._commit(repository, name, body)
        return self._refuse(404, f"no such address: {path}")

    def _preupload(self, body):
        files = [
            {"path": one["path"], "uploadMode": "lfs" if one["size"] > _LFS_BYTES else "regular", "shouldIgnore": False}
            for one in json.loads(body)["files"]
        ]
        return self._json({"files": files})

    def _commit(self, repository, name, body):
        files = dict(repository.files)
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        repository.files = files
        repository.commits.append(hashlib.sha1(body).hexdigest())
        commit = repository.commits[-1]
        return self._json({"commitUrl": f"{self.hub.address}/{name}/commit/{commit}", "commitOid": commit, "success": True})

    def do_PUT(self):
        path = self._route()
        if self.hub.broken_uploads:
            self.hub.broken_uploads -= 1
            self.rfile.read(10)
            self.close_connection = True
            self.connection.close()
            return
        oid, body = path.rsplit("/", 1)[-1], self._body()
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.blobs[oid] = body
        self.hub.uploads.append(oid)
        self._send(b"", 200, ETag="part")

    def do_GET(self):
        path = self._route()
        if path == "/api/whoami-v2":
            if self._token not in self.hub.rights:
                return self._refuse(401, "Invalid credentials in Authorization header")
            return self._json({"type": "user", "name": "me", "orgs": [], "auth": {}})
        if match := re.fullmatch(r"/api/(\w+)/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            repository = self._repository(_KINDS[match[1]], match[2])
            if repository is None:
                return None
            repository = repository.at(match[3])
            siblings = [{"rfilename": file} for file in repository.files]
            commit = repository.commits[-1]
            return self._json({"id": match[2], "sha": commit, "private": repository.private, "siblings": siblings, "tags": []})
        if match := re.fullmatch(r"/api/(\w+)/([^/]+/[^/]+)/tree/([^/]+)(/.*)?", path):
            repository = self._repository(_KINDS[match[1]], match[2])
            return None if repository is None else self._json(self._tree(repository.at(match[3]), (match[4] or "").strip("/")))
        if match := re.fullmatch(r"/(spaces/|datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository = self._repository("space" if match[1] == "spaces/" else "model", match[2])
            if repository is None:
                return None
            repository = repository.at(match[3])
            headers = {"X_Repo_Commit": repository.commits[-1]}
            if match[4] not in repository.files:
                message = "Entry not found"
                return self._json({"error": message}, 404, X_Error_Code="EntryNotFound", X_Error_Message=message, **headers)
            content = repository.files[match[4]]
            if self.command == "GET" and self.hub.faults.get(match[4]):
                return self._fail(self.hub.faults[match[4]].pop(0), content, **headers)
            return self._send(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', **headers)
        return self._refuse(404, f"no such address: {path}")

    do_HEAD = do_GET

    def _fail(self, fault, content, **headers):
        if fault != "half":
            return self._json({"error": "not now"}, fault, Retry_After="0", **headers)
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", headers["X_Repo_Commit"])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True
        self.connection.close()
        return None

    @staticmethod
    def _tree(repository, under):
        entries, folders = [], set()
        for name, content in repository.files.items():
            if under and not name.startswith(under + "/"):
                continue
            for depth in range(1, name.count("/") + 1):
                folders.add("/".join(name.split("/")[:depth]))
            entries.append({"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()})
        return [{"type": "directory", "path": folder, "oid": "0" * 40} for folder in sorted(folders)] + entries


def start_hub() -> tuple[Hub, ThreadingHTTPServer]:
    """A hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return hub, server
