#!/usr/bin/env python3
"""Receives the events of Airlock's webhook, and prints those with a valid signature.

Usage: notify-receiver.py PORT SECRET_FILE
"""
import base64
import hashlib
import hmac
import http.server
import json
import pathlib
import sys
import time

TOLERANCE_SECONDS = 300
MAX_BYTES = 64 * 1024

secret = pathlib.Path(sys.argv[2]).read_text().rstrip("\r\n")
key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
seen = {}  # Ids of events. An event comes again if the server did not receive the response.


def is_signed(headers, body):
    event_id, timestamp = headers["webhook-id"] or "", headers["webhook-timestamp"] or ""
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = f"{event_id}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    signatures = (headers["webhook-signature"] or "").split()
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(min(int(self.headers["content-length"] or 0), MAX_BYTES))
        signed = is_signed(self.headers, body)
        event_id = self.headers["webhook-id"]
        if signed and event_id not in seen:
            event = json.loads(body)
            seen[event_id] = True
            if len(seen) > 10_000:
                seen.pop(next(iter(seen)))
            print(event["time"], event["type"], event.get("subject", "-"), json.dumps(event["data"]), flush=True)
        self.send_response(204 if signed else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
print(f"listening on port {server.server_port}", flush=True)
server.serve_forever()
