"""A stand-in for the serving program: answers from the bundle, wrongly where `MODE` says so."""

import argparse
import contextlib
import http.server
import importlib.util
import json
import os
import sys
import time
import urllib.parse
from pathlib import Path

from components.contracts.files import read_json, sha256_bytes, sha256_file, write_json
from components.search.retrieval import BundleIndex

MODE = os.environ.get("MODE", "")


def main():
    parser = argparse.ArgumentParser()
    for name in ("--bundle", "--host", "--port", "--ready-file"):
        parser.add_argument(name, required=True)
    arguments = parser.parse_args()
    if MODE == "dies":
        sys.exit("the index is broken")
    if MODE == "needs_more":
        import kfp  # noqa: F401
    if MODE == "does_without":
        with contextlib.suppress(ModuleNotFoundError):
            import pandas  # noqa: F401
    if MODE == "asks_whether":
        assert importlib.util.find_spec("pandas") is None
        assert "TF_USE_LEGACY_KERAS" not in os.environ
    if MODE == "grows":
        globals()["ballast"] = bytearray(os.urandom(1024) * (300 * 1024))
        time.sleep(600)
    if MODE == "hangs":
        time.sleep(600)
    bundle = Path(arguments.bundle)
    # What the evaluation measures must not depend on files outside the copy.
    assert bundle.parent == Path.cwd()
    index = BundleIndex.load(bundle)
    golden = read_json(bundle / "golden/answers.json")["queries"]
    by_photo = {
        sha256_file(bundle / record["image"]): record for record in golden if record["image"]
    }
    version = read_json(bundle / "manifest.json")["version"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

        def do_GET(self):
            if MODE == "slow":
                time.sleep(5)
            path = urllib.parse.unquote(self.path.split("?")[0])
            if path == "/version":
                digest = sha256_file(bundle / "manifest.json")
                said = "another" if MODE == "other_version" else version
                self.reply(200, {"version": said, "manifest_sha256": digest})
                return
            item_id = path.removeprefix("/v1/items/").removesuffix("/similar")
            product = index.item(item_id).product_id
            left_out = [set() if MODE == "own_product" else {product}]
            hits = index.answer(index.vector(item_id), 10, exclude_products=left_out)[0]
            count = 3 if MODE == "short_answers" and "/p1" in path else 10
            self.results(hits.item_ids[:count], hits.scores[:count])

        def do_POST(self):
            data = self.rfile.read(int(self.headers["Content-Length"]))
            record = by_photo.get(sha256_bytes(data))
            if record is None:
                self.reply(200 if MODE == "takes_garbage" else 415, {"results": []})
                return
            shift = 0.01 if MODE == "other_scores" else 1e-6
            self.results(record["item_ids"], [score - shift for score in record["scores"]])

        def results(self, item_ids, scores):
            rows = [{"item_id": i, "score": s} for i, s in zip(item_ids, scores)]
            self.reply(200, {"results": rows})

    server = http.server.ThreadingHTTPServer((arguments.host, int(arguments.port)), Handler)
    Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
    write_json(Path(arguments.ready_file), {"port": server.server_port})
    server.serve_forever()


if __name__ == "__main__":
    main()
