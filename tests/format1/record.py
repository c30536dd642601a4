#!/usr/bin/env python3
"""Records logs of format 1 with the released binary of version 0.1.

    record.py PATH_TO_MLSDM_0_1 [FOLDER]

Writes FOLDER/log.db, FOLDER/log.key and FOLDER/states.json (default: this folder). The binary is the
one of commit 18f0e10; tests/process/released.rs builds it. The log has several engines, both phases,
refusals, failures, an abandoned step, budgets, API keys, policy changes, consolidation, eviction,
idempotent requests and a shutdown. Random ids and times differ from one run to the next; the counts and
the verdicts do not.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "0123456789abcdef" * 4
BUSY = """\
rhythm: {wake_duration: 3, sleep_duration: 2}
capacity: 4
moral: {adaptation: homeostatic}
"""
FRUGAL = """\
budget: {tokens: 120, window_seconds: 86400}
memory: {scope: engine}
rhythm: {sleep_duration: 0}
"""


class FailingModel(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that refuses every call, and hangs if the prompt says so."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if b"hang" in body:
            time.sleep(60)
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"error": {"message": "no", "type": "invalid_request_error"}}')

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    def __init__(self, binary, folder, **variables):
        self.binary, self.folder, self.port = binary, folder, free_port()
        self.env = {
            "PATH": os.environ["PATH"],
            "USER": "recorder",
            "DATABASE_URL": f"sqlite://{folder}/log.db",
            "MLSDM_CONTENT_KEY_FILE": f"{folder}/log.key",
            "MLSDM__AUTH__MODE": "dev",
            "METRICS_ENABLED": "false",
            "API_PORT": str(self.port),
            "DISABLE_RATE_LIMIT": "true",
            "LOG_LEVEL": "WARNING",
            **variables,
        }
        self.process = None

    def __enter__(self):
        serve = [self.binary, "serve"]
        silent = subprocess.DEVNULL
        self.process = subprocess.Popen(serve, env=self.env, cwd=self.folder, stderr=silent)
        for _ in range(200):
            try:
                self.call("GET", "/health/ready")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        token = [self.binary, "token"]
        made = subprocess.run(token, env=self.env, cwd=self.folder, check=True, capture_output=True)
        self.env["MLSDM_TOKEN"] = made.stdout.decode().strip()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def run(self, *arguments):
        subprocess.run([self.binary, *arguments], env=self.env, cwd=self.folder, check=True)

    def call(self, method, path, body=None, timeout=90, **headers):
        token = self.env.get("MLSDM_TOKEN")
        if token:
            headers["authorization"] = f"Bearer {token}"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"content-type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def generate(self, who, prompt, engine="default", key=None, timeout=90, **body):
        headers = {"X-MLSDM-End-User": who, "X-Request-ID": f"request of {who}"}
        if key:
            headers["Idempotency-Key"] = key
        path = f"/v1/engines/{engine}/generate"
        body = {"prompt": prompt, **body}
        return self.call("POST", path, body, timeout=timeout, **headers)


def expect(got, status):
    if got[0] != status:
        raise SystemExit(f"expected status {status}: {got}")
    return got[1]


def steps(server):
    for n in range(12):
        who = "ann" if n % 3 else "ben"
        expect(server.generate(who, f"My dog number {n} is called Rex", moral_value=0.9), 200)
    for _ in range(3):
        expect(server.generate("mallory", "Something harmful", moral_value=0.1), 200)
    expect(server.generate("mallory", "Thank you, please help"), 200)
    expect(server.generate("ann", "What is my dog called?", max_tokens=20, context_top_k=2), 200)
    expect(server.generate("ann", "A key twice", key="k-1", moral_value=0.8), 200)
    again = expect(server.generate("ann", "A key twice", key="k-1", moral_value=0.8), 200)
    assert again["accepted"], again
    expect(server.generate("ann", "Another body", key="k-1", moral_value=0.8), 422)
    chat = {"model": "local-stub", "messages": [{"role": "user", "content": "Hello by chat"}]}
    expect(server.call("POST", "/v1/chat/completions", chat), 200)
    message = {"model": "local-stub", "max_tokens": 50, "messages": chat["messages"]}
    expect(server.call("POST", "/v1/messages", message), 200)


def busy(server):
    """Short phases, a small memory and the homeostatic filter: consolidation and eviction."""
    for n in range(16):
        value = 0.2 if n % 5 == 4 else 0.9
        server.generate("cem", f"Fact {n}: the sky is blue", engine="busy", moral_value=value)
    act = {"reason": "a drill"}
    expect(server.call("POST", "/v1/engines/busy/admin/shutdown", act), 200)
    expect(server.generate("cem", "Is anybody there?", engine="busy", moral_value=0.9), 503)
    expect(server.call("POST", "/v1/engines/busy/admin/resume", act), 200)


def frugal(server):
    answers = [server.generate("dee", f"Tell me {n}", engine="frugal", moral_value=0.9) for n in range(8)]
    assert {status for status, _ in answers} == {200, 429}, answers


def keys(server):
    grant = {"name": "phone", "roles": ["user"]}
    made = expect(server.call("POST", "/v1/keys", grant), 201)
    other = expect(server.call("POST", "/v1/keys", {**grant, "name": "laptop"}), 201)
    expect(server.call("POST", f"/v1/keys/{made['id']}/rotate", {}), 200)
    expect(server.call("DELETE", f"/v1/keys/{other['id']}"), 200)


def engines(server, folder):
    for name, policy in (("busy", BUSY), ("frugal", FRUGAL)):
        path = folder / f"{name}.yaml"
        path.write_text(policy)
        server.run("engine", "create", name, "--policy", str(path), "--json")
        path.unlink()


def failures(server):
    """A model that refuses, and a step that the process does not survive."""
    expect(server.generate("ann", "This call fails", moral_value=0.9), 502)
    hanging = threading.Thread(
        target=lambda: swallow(lambda: server.generate("ann", "hang", moral_value=0.9))
    )
    hanging.start()
    for _ in range(200):
        if server.call("GET", "/v1/state")[1]["open_count"] == 1:
            break
        time.sleep(0.05)
    server.kill()
    hanging.join()


def swallow(call):
    try:
        call()
    except OSError:
        pass


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    target = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent)
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "log.key").write_text(KEY + "\n")
    (folder / "log.key").chmod(0o600)
    with Server(binary, folder) as server:
        engines(server, folder)
        steps(server)
        busy(server)
        frugal(server)
        keys(server)
    model = ThreadingHTTPServer(("127.0.0.1", 0), FailingModel)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    failing = {
        "LLM_BACKEND": "openai",
        "OPENAI_API_KEY": "unused",
        "MLSDM__LLM__MODEL": "failing",
        "MLSDM__LLM__OPENAI__BASE_URL": f"http://127.0.0.1:{model.server_port}",
        "MLSDM__LLM__RETRY__ATTEMPTS": "1",
    }
    with Server(binary, folder, **failing) as server:
        failures(server)
    # the changed configuration is a changed policy; the smaller memory evicts
    changed = {"MLSDM_CAPACITY": "6", "MLSDM_INITIAL_THRESHOLD": "0.55"}
    with Server(binary, folder, **changed) as server:
        expect(server.generate("ann", "After the change", moral_value=0.9), 200)
        names = ("default", "busy", "frugal")
        states = {name: server.call("GET", f"/v1/engines/{name}/state")[1] for name in names}
    # memories copied from one engine to another
    server.run("engine", "migrate", "busy", "copy", "--json")
    # one file, without a write-ahead log
    with sqlite3.connect(folder / "log.db", isolation_level=None) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("VACUUM")
    subprocess.run([binary, "audit", "verify"], env=server.env, cwd=folder, check=True)
    for name in names:
        arguments = ["replay", "--engine", name, "--verify"]
        subprocess.run([binary, *arguments], env=server.env, cwd=folder, check=True)
    for file in ("log.db", "log.key"):
        shutil.copy(folder / file, target / file)
    fields = ("position", "state_digest", "chain_hash", "step")
    kept = {name: {field: state[field] for field in fields} for name, state in states.items()}
    (target / "states.json").write_text(json.dumps(kept, indent=2) + "\n")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
