# SPDX-License-Identifier: Apache-2.0
"""api_load.py SOCKET RATE SECONDS VMS: asks lodged at a fixed rate, prints the 99th percentile of the times in ms.

Open loop: a request has its moment, and its time counts from then, whether or not the one before is answered; so a stall of the
server is seen in full. Eight connections take turns. Mix: of ten requests eight ask for one VM, one for a page of the list, one
for a page of the operations.
"""
import selectors
import socket
import sys
import time

CONNECTIONS = 8


def paths(vms):
    n = 0
    while True:
        kind = n % 10
        if kind == 8:
            yield "/1.0/vms?limit=50"
        elif kind == 9:
            yield "/1.0/operations?limit=20"
        else:
            yield "/1.0/vms/vm%d" % (n * 7 % vms)
        n += 1


class Connection:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.since = []  # when the requests that are not answered yet were due
        self.data = b""

    def answers(self):
        """Takes in what has come; yields when each answered request was due."""
        piece = self.sock.recv(1 << 18)
        if not piece:
            sys.exit("lodged closed a connection")
        self.data += piece
        while True:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.data[:end].decode()
            if not head.startswith("HTTP/1.1 200"):
                sys.exit(head)
            length = next(int(l.split(":")[1]) for l in head.split("\r\n") if l.lower().startswith("content-length:"))
            if len(self.data) < end + 4 + length:
                return
            self.data = self.data[end + 4 + length:]
            yield self.since.pop(0)


def main():
    path, rate, seconds, vms = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    wait = selectors.DefaultSelector()
    connections = [Connection(path) for _ in range(CONNECTIONS)]
    for c in connections:
        wait.register(c.sock, selectors.EVENT_READ, c)
    total, sent, took, next_path = int(rate * seconds), 0, [], paths(vms)
    begin = time.monotonic()
    while len(took) < total:
        now = time.monotonic()
        if now - begin > seconds + 60:
            sys.exit("lodged does not keep up: %d of %d answered" % (len(took), total))
        while sent < total and begin + sent / rate <= now:
            c = connections[sent % CONNECTIONS]
            c.since.append(begin + sent / rate)
            c.sock.sendall(("GET %s HTTP/1.1\r\nHost: lodged\r\n\r\n" % next(next_path)).encode())
            sent += 1
        left = begin + sent / rate - time.monotonic() if sent < total else 1
        for key, _ in wait.select(max(left, 0)):
            took += [time.monotonic() - due for due in key.data.answers()]
    took.sort()
    print("%.2f" % (took[len(took) * 99 // 100] * 1000))


main()
