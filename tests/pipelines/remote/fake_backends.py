"""A local HTTP server that speaks the paths of Kubeflow Pipelines' and Vertex AI's APIs.

It keeps what came, answers as the backends do as far as the clients read, and rejects requests
without the token that it was given.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import yaml

DONE = {"done": True, "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}


@dataclass
class Request:
    method: str
    path: str
    query: dict
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def parts(self):
        """The parts of a multipart body, by name."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        return {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in message_from_bytes(head + self.body).get_payload()
        }


@dataclass
class Backends:
    """What the server knows, and what came."""

    token: str = ""
    requests: list[Request] = field(default_factory=list)
    pipelines: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    experiments: dict = field(default_factory=dict)
    recurring: dict = field(default_factory=dict)
    schedules: dict = field(default_factory=dict)
    url: str = ""
    _numbers: itertools.count = field(default_factory=itertools.count)

    def calls(self, method, pattern):
        return [r for r in self.requests if r.method == method and re.fullmatch(pattern, r.path)]

    def answer(self, request: Request) -> tuple[int, object]:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"message": "no valid token"}
        for method, pattern, handler in self._routes():
            match = re.fullmatch(pattern, request.path)
            if method == request.method and match:
                return handler(request, *match.groups())
        return 404, {"message": f"no route for {request.method} {request.path}"}

    def _routes(self):
        kfp = "/apis/v2beta1"
        vertex = r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+"
        return [
            ("GET", f"{kfp}/healthz", lambda r: (200, {"multi_user": False})),
            ("GET", f"{kfp}/pipelines", self._list_pipelines),
            ("POST", f"{kfp}/pipelines", self._create_pipeline),
            ("POST", f"{kfp}/pipelines/upload_version", self._upload_version),
            ("GET", f"{kfp}/pipelines/([^/]+)/versions", self._list_versions),
            ("GET", f"{kfp}/experiments", self._list_experiments),
            ("POST", f"{kfp}/experiments", self._create_experiment),
            ("POST", f"{kfp}/runs", self._create_run),
            ("GET", f"{kfp}/recurringruns", self._list_recurring),
            ("POST", f"{kfp}/recurringruns", self._create_recurring),
            ("DELETE", f"{kfp}/recurringruns/([^/]+)", self._delete_recurring),
            ("GET", r"/storage/v1/b/[^/]+", self._bucket),
            ("GET", r"/v3/projects/[^/]+", lambda r: (200, {"projectNumber": "7"})),
            ("POST", f"{vertex}/pipelineJobs", self._vertex_job),
            ("GET", f"{vertex}/schedules", self._vertex_schedules),
            ("POST", f"{vertex}/schedules", self._vertex_schedule),
            ("DELETE", r"/v1(?:beta1)?/(projects/.*/schedules/[^/]+)", self._vertex_delete),
            ("GET", r"/v1(?:beta1)?/(projects/.*/operations/[^/]+)", self._operation),
            ("POST", "/kfp-repository", self._registry_upload),
        ]

    def _id(self, kind):
        return f"{kind}-{next(self._numbers)}"

    def _list_pipelines(self, request):
        wanted = json.loads(request.query["filter"][0])["predicates"][0]
        name = wanted.get("stringValue") or wanted.get("string_value")
        found = [p for p in self.pipelines.values() if p["display_name"] == name]
        return 200, {"pipelines": found, "total_size": len(found)}

    def _create_pipeline(self, request):
        made = {**request.json, "pipeline_id": self._id("pipeline")}
        self.pipelines[made["pipeline_id"]] = made
        return 200, made

    def _upload_version(self, request):
        made = {
            "pipeline_id": request.query["pipelineid"][0],
            "pipeline_version_id": self._id("version"),
            "display_name": request.query["name"][0],
            "pipeline_spec": yaml.safe_load(request.parts["uploadfile"].split(b"\n---\n")[0]),
        }
        self.versions[made["pipeline_version_id"]] = made
        return 200, made

    def _list_versions(self, request, pipeline):
        found = [v for v in self.versions.values() if v["pipeline_id"] == pipeline]
        return 200, {"pipeline_versions": found[::-1], "total_size": len(found)}

    def _list_experiments(self, request):
        found = list(self.experiments.values())
        return 200, {"experiments": found, "total_size": len(found)}

    def _create_experiment(self, request):
        made = {**request.json, "experiment_id": self._id("experiment")}
        self.experiments[made["experiment_id"]] = made
        return 200, made

    def _create_run(self, request):
        return 200, {**request.json, "run_id": self._id("run")}

    def _list_recurring(self, request):
        return 200, {"recurringRuns": list(self.recurring.values())}

    def _create_recurring(self, request):
        made = {**request.json, "recurring_run_id": self._id("recurring")}
        self.recurring[made["recurring_run_id"]] = made
        return 200, made

    def _delete_recurring(self, request, name):
        del self.recurring[name]
        return 200, {}

    def _bucket(self, request):
        return 200, {"name": request.path.rsplit("/", 1)[-1], "projectNumber": "7"}

    def _vertex_job(self, request):
        name = f"{request.path.partition('/projects/')[2]}/{request.query['pipelineJobId'][0]}"
        body = request.json
        return 200, {**body, "name": f"projects/{name}", "state": "PIPELINE_STATE_PENDING"}

    def _vertex_schedules(self, request):
        return 200, {"schedules": list(self.schedules.values())}

    def _vertex_schedule(self, request):
        name = f"projects/{request.path.partition('/projects/')[2]}/{self._id('')[1:]}"
        self.schedules[name] = {**request.json, "name": name, "state": "ACTIVE"}
        return 200, self.schedules[name]

    def _vertex_delete(self, request, name):
        del self.schedules[name]
        return 200, {**DONE, "name": f"{name.rpartition('/schedules/')[0]}/operations/1"}

    def _operation(self, request, name):
        return 200, {**DONE, "name": name}

    def _registry_upload(self, request):
        return 200, "visual-search/sha256:" + "a" * 64


def serve(backends: Backends) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self):
            length = int(self.headers.get("content-length") or 0)
            parts = urlsplit(self.path)
            request = Request(
                self.command,
                parts.path,
                parse_qs(parts.query),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length),
            )
            backends.requests.append(request)
            status, value = backends.answer(request)
            text = isinstance(value, str)
            data = value.encode() if text else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if text else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_PATCH = _handle  # noqa: N815

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    backends.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    return server
