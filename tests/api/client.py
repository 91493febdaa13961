# SPDX-License-Identifier: Apache-2.0
#
# client.py - what the tests of lodged's API share: a daemon of their own, HTTP and WebSocket by hand (so that also what is wrong can
# be said), the description in docs/api, certificates.
import atexit
import base64
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
with open(TOP + "/docs/api/lodge.json", encoding="utf-8") as f, open(TOP + "/docs/api/schemas.json", encoding="utf-8") as g:
    API = {**json.load(f), "components": json.load(g)["components"]}  # what refers to schemas.json finds it here
CMDLINE = os.environ.get("cmdline_base", "console=ttyS0 panic=-1").replace("quiet ", "")

bad = 0


def expect(what, got, wanted):
    global bad
    if got == wanted:
        print(f"ok   {what}", flush=True)
    else:
        print(f"FAIL {what}: {got!r}, not {wanted!r}", flush=True)
        bad += 1
    return got == wanted


def wait_for(what, seconds, check):
    """Until check() is true; a deadline, not an outcome."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.02)
    expect(what, "not within %d s" % seconds, "done")
    return False


# ---- schemas ----

def resolve(node):
    while "$ref" in node:
        at = API
        for part in node["$ref"].split("#")[1].split("/")[1:]:
            at = at[part]
        node = at
    return node


KNOWN = {"type", "required", "additionalProperties", "properties", "description", "enum", "items", "minimum", "maximum", "minLength", "maxLength",
         "minItems", "maxItems", "format", "x-lodge-roles"}


def violations(value, schema, where="answer"):
    """What in the value is not as the schema says: a list of sentences."""
    schema = resolve(schema)
    if set(schema) - KNOWN:
        return [f"{where}: the schema has {set(schema) - KNOWN}, which this test does not know"]
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (kind == "integer" and isinstance(value, bool))):
        return [f"{where} is {value!r}, not of type {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where} is {value!r}, none of {schema['enum']}"]
    found = []
    if kind == "integer" and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{where} is {value}, out of range")
    if kind == "string" and not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        found.append(f"{where} has {len(value)} characters")
    if kind == "array":
        for i, item in enumerate(value):
            found += violations(item, schema.get("items", {}), f"{where}[{i}]")
    if kind == "object":
        properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{where} has no {k}" for k in schema.get("required", []) if k not in value]
        for k, v in value.items():
            if k in properties:
                found += violations(v, properties[k], f"{where}.{k}")
            elif more is False:
                found.append(f"{where} has {k}, which the schema does not")
            elif isinstance(more, dict):
                found += violations(v, more, f"{where}.{k}")
    return found


# ---- connections ----

class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    @property
    def json(self):
        return json.loads(self.body) if self.body else None

    @property
    def error(self):
        return (self.json or {}).get("error", {}).get("id")


class Connection:
    """Bytes to lodged and back; where: the path of a socket, or (host, port, SSLContext)."""

    def __init__(self, where, timeout=120):  # longer than an answer may be waited for (?wait=60)
        if isinstance(where, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(where)  # waits for its turn, which one with a time limit does not
            self.sock.settimeout(timeout)
        else:
            raw = socket.create_connection(where[:2], timeout)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = where[2].wrap_socket(raw, server_hostname=where[0])
        self.got = b""

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def more(self):
        piece = self.sock.recv(65536)
        self.got += piece
        return bool(piece)

    def take(self, n):
        while len(self.got) < n:
            if not self.more():
                raise EOFError(f"{len(self.got)} of {n} bytes came")
        piece, self.got = self.got[:n], self.got[n:]
        return piece

    def head(self):
        while b"\r\n\r\n" not in self.got:
            if not self.more():
                raise EOFError(f"no answer, only {self.got!r}")
        head, self.got = self.got.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        fields = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        return int(lines[0].split()[1]), fields

    def answer(self, method="GET"):
        status, fields = self.head()
        n = 0 if method == "HEAD" or status in (101, 204) else int(fields.get("content-length", 0))
        return Answer(status, fields, self.take(n))

    def request(self, method, path, body=None, fields=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        body = body.encode() if isinstance(body, str) else body or b""
        head = {"Host": "lodged", "Content-Length": str(len(body)), **(fields or {})}
        if not body and "Content-Length" not in (fields or {}):
            del head["Content-Length"]
        self.send(f"{method} {path} HTTP/1.1\r\n".encode() +
                  b"".join(f"{k}: {v}\r\n".encode() for k, v in head.items()) + b"\r\n" + body)
        return self.answer(method)


# ---- WebSocket ----

MORE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(op, data=b"", final=True, mask=b"\x11\x22\x33\x44", reserved=0, size=None):
    """One frame; size: 2 or 8 bytes for the length whatever it is; mask None: none."""
    n = len(data)
    size = size or (0 if n < 126 else 2 if n < 65536 else 8)
    code = {0: n, 2: 126, 8: 127}[size]
    head = bytes([op | (0x80 if final else 0) | reserved << 4, code | (0x80 if mask else 0)])
    head += {0: b"", 2: struct.pack(">H", n & 0xffff), 8: struct.pack(">Q", n)}[size]
    return head + (mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data)) if mask else data)


class WebSocket(Connection):
    KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 §1.3

    def __init__(self, where, path, timeout=120, fields=None):
        super().__init__(where, timeout)
        self.greeting = self.request("GET", path, None, {
            "Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": self.KEY, **(fields or {})})
        self.open = self.greeting.status == 101
        if self.open:
            wanted = base64.b64encode(hashlib.sha1((self.KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
            assert self.greeting.fields["sec-websocket-accept"] == wanted.decode()

    def frame(self):
        a, b = self.take(2)
        assert a & 0x80 and not b & 0x80, "the server fragments, or masks"
        n = b & 0x7f
        if n > 125:
            n = int.from_bytes(self.take(2 if n == 126 else 8), "big")
        return a & 0x0f, self.take(n)

    def message(self):
        """The next that is no ping: (op, data)."""
        while True:
            op, data = self.frame()
            if op != PING:
                return op, data
            try:
                self.send(frame(PONG, data))
            except OSError:
                pass  # it has closed meanwhile: what it said before is still to be read

    def closed(self):
        """Code and reason of the server's close; what comes before it is dropped."""
        while True:
            try:
                op, data = self.frame()
            except (EOFError, ConnectionError):
                return None
            if op == CLOSE:
                return int.from_bytes(data[:2], "big"), data[2:].decode()

    def until(self, wanted):
        """What the messages said, until `wanted` is in it."""
        said = b""
        while wanted not in said:
            op, data = self.message()
            if op == CLOSE:
                raise EOFError(f"closed: {data!r} after {said[-200:]!r}")
            said += data
        return said


# ---- the daemon ----

class Daemon:
    def __init__(self, build, settings="", user=None, folder=None):
        self.build, self.user = os.path.abspath(build), user
        self.program = self.build + "/src/lodged"
        self.folder = folder or tempfile.mkdtemp(prefix="lodge-api-")
        os.chmod(self.folder, 0o755)
        self.socket = self.folder + "/run/lodged.socket"
        self.env = dict(os.environ, LODGE_RUN=self.folder + "/run", LODGE_STATE=self.folder + "/state", LODGE_CONFIG=self.folder + "/etc")
        for name in ("LODGE_DIRECT", "LODGE_HOST"):
            self.env.pop(name, None)
        os.makedirs(self.folder + "/etc", exist_ok=True)
        self.process = None
        with open(self.build + "/src/lodged", "rb") as program:
            self.sanitized = b"__asan_init" in program.read()
        atexit.register(self.end)  # also after an exception
        self.configure(settings)

    def hold_programs(self):
        """From now on lodged runs a `lodge` that can be held up (held())."""
        place = self.folder + "/bin"
        os.mkdir(place)
        shutil.copy(self.build + "/src/lodged", place)
        with open(place + "/lodge", "w", encoding="utf-8") as script:
            script.write(f'#!/bin/sh\nflock -s "$0" true\nexec "{self.build}/src/lodge" "$@"\n')
        os.chmod(place + "/lodge", 0o755)
        self.program = place + "/lodged"

    @contextlib.contextmanager
    def held(self):
        """What lodged begins meanwhile goes on afterwards."""
        with open(os.path.dirname(self.program) + "/lodge", "rb") as script:
            fcntl.flock(script, fcntl.LOCK_EX)
            yield

    def configure(self, settings):
        with open(self.folder + "/etc/lodged.conf", "w", encoding="utf-8") as conf:
            conf.write(settings)

    def start(self):
        self.log = open(self.folder + "/log", "ab")
        self.process = subprocess.Popen([self.program], env=self.env, stderr=self.log)
        return wait_for("lodged answers", 30, self.answers)

    def answers(self):
        try:
            return self.call("GET", "/1.0").json["pid"] == self.process.pid
        except (OSError, EOFError):
            return False

    def call(self, method, path, body=None, fields=None, where=None):
        c = Connection(where or self.socket)
        try:
            return c.request(method, path, body, fields)
        finally:
            c.close()

    def done(self, method, path, body=None, where=None):
        """Begins an operation and waits for its end: its state."""
        a = self.call(method, path, body, where=where)
        if a.status != 202:
            return f"{a.status} {a.body.decode()}"
        return self.call("GET", f"/1.0/operations/{a.json['id']}?wait=60", where=where).json["state"]

    def tcp_port(self):
        return int(self.said().rsplit("port ", 1)[1].split(",")[0])

    def refuses(self, settings):
        """What it says when it is started with these settings; it must end."""
        self.configure(settings)
        p = subprocess.run([self.build + "/src/lodged"], env=self.env, stderr=subprocess.PIPE, timeout=30, check=False, text=True)
        return p.stderr.strip() if p.returncode == 1 else f"status {p.returncode}: {p.stderr}"

    def said(self):
        with open(self.folder + "/log", encoding="utf-8") as log:
            return log.read()

    def lodge(self, *words, env=None, data=None, timeout=60):
        return subprocess.run([self.build + "/src/lodge", *words], env={**self.env, **(env or {})}, input=data, capture_output=True,
                              timeout=timeout, check=False, text=True)

    def memory_kib(self):
        """0 in a build with AddressSanitizer, which keeps what was freed."""
        if self.sanitized:
            return 0
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return int(next(line for line in status if line.startswith("VmRSS")).split()[1])

    def stop(self, how=signal.SIGTERM):
        status = None
        if self.process:
            self.process.send_signal(how)
            status = self.process.wait()
        self.process = None
        return status

    def end(self):
        self.stop()
        if not os.path.exists(self.folder):
            return
        self.lodge("rm", "-f", "--all", env={"LODGE_DIRECT": "1"})
        shutil.rmtree(self.folder, ignore_errors=True)


def definition(name, mode="idle", **more):
    """A small VM of the tests' own guest."""
    return {"name": name, "words": ["--engine", "soft", "--kernel", os.environ["kernel"], "--initrd", os.environ["initrd"], "-m", "128M",
                                    "--cmdline", f"{CMDLINE} lodge.mode={mode}"], **more}


# ---- certificates ----

class Certificates:
    """An authority, and what it signs; by the openssl program."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.authority("ca")

    def path(self, name):
        return f"{self.folder}/{name}"

    def run(self, *words):
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    def authority(self, name):
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={name}",
                 "-keyout", self.path(name + ".key"), "-out", self.path(name + ".crt"))

    def make(self, name, use, ca="ca", days="30"):
        """A certificate NAME.crt with NAME.key; its fingerprint."""
        with open(self.path(name + ".ext"), "w", encoding="utf-8") as ext:
            ext.write(f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={use}\n")
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", self.path(name + ".key"), "-out", self.path(name + ".csr"))
        self.run("x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.path(ca + ".crt"), "-CAkey", self.path(ca + ".key"),
                 "-CAcreateserial", "-days", days, "-extfile", self.path(name + ".ext"), "-out", self.path(name + ".crt"))
        os.chmod(self.path(name + ".key"), 0o600)
        with open(self.path(name + ".crt"), encoding="utf-8") as f:
            return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(f.read())).hexdigest()

    def context(self, name, ca="ca"):
        c = ssl.create_default_context(cafile=self.path(ca + ".crt"))
        if name:
            c.load_cert_chain(self.path(name + ".crt"), self.path(name + ".key"))
        return c


def finish(*daemons):
    for d in daemons:
        if bad:
            print(d.said()[-4000:], file=sys.stderr)
        status = d.stop()
        if status:
            expect("lodged ends well", status, 0)
    sys.exit(1 if bad else 0)
