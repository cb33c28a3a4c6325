"""`lookalike ask`: one photo, one served answer, to see with one's own eyes that it works."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import read_json

_START_SECONDS = 120.0


@click.command()
@click.option(
    "--registry", required=True, help="Registry: a folder, file:// or gs://bucket/prefix."
)
@click.option("--channel", required=True, help="Channel whose live version answers.")
@click.option(
    "--image",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Photo to search by.",
)
@click.option("--k", default=5, show_default=True, type=click.IntRange(1, 100), help="Results.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as it came.")
def ask(registry: str, channel: str, image: Path, k: int, as_json: bool) -> None:
    """Start the real server, search by one photo over HTTP, print the answer, stop the server.

    Example: lookalike ask --registry .lookalike/demo/registry --channel demo --image photo.jpg
    """
    try:
        photo = image.read_bytes()
    except OSError as error:
        raise InputError(f"--image {image}: cannot be read ({error.strerror})") from None
    with tempfile.TemporaryDirectory() as scratch:
        ready, log = Path(scratch) / "ready.json", Path(scratch) / "server.log"
        command = [
            *(sys.executable, "-m", "serving", "--registry", registry, "--channel", channel),
            *("--port", "0", "--ready-file", str(ready)),
        ]
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            port = _wait(server, ready, log)
            answer = _search(port, photo, k)
        finally:
            server.terminate()
            server.wait()
    click.echo(json.dumps(answer, indent=2) if as_json else _table(image, answer))


def _wait(server: subprocess.Popen[bytes], ready: Path, log: Path) -> int:
    end = time.monotonic() + _START_SECONDS
    while not ready.exists():
        if server.poll() is not None:
            text = log.read_text(encoding="utf-8", errors="replace").strip()
            raise LookalikeError(f"the server did not start:\n{text}")
        if time.monotonic() > end:
            raise LookalikeError(f"the server was not ready after {_START_SECONDS:.0f} s")
        time.sleep(0.1)
    return int(read_json(ready)["port"])


def _search(port: int, photo: bytes, k: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/octet-stream"}
    connection.request("POST", f"/v1/search?k={k}", body=photo, headers=headers)
    response = connection.getresponse()
    answer: dict[str, Any] = json.loads(response.read() or b"{}")
    connection.close()
    if response.status != http.HTTPStatus.OK:
        raise InputError(f"the server refused the photo: {answer.get('detail') or response.reason}")
    return answer


def _table(image: Path, answer: dict[str, Any]) -> str:
    lines = [f"{image} looks like (answered over HTTP by version {answer['version']}):", ""]
    for rank, result in enumerate(answer["results"], start=1):
        path = result["taxon_path"]
        where = path if isinstance(path, str) else " > ".join(path)
        lines.append(
            f"  {rank}  {result['score']:.3f}  {result['item_id']:<12} "
            f"{result['title']:<28.28}  {where}"
        )
    return "\n".join(lines)
