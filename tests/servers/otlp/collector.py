"""A collector of traces: decodes OTLP over HTTP with OpenTelemetry's own messages.

collector.py FILE STATUS...: the first calls get these statuses, and further ones 200. FILE gets a line of JSON with the
port, then one for each call that got 200.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

path, statuses = sys.argv[1], [int(status) for status in sys.argv[2:]]


def write(line):
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def attributes(given):
    def value(any_value):
        return getattr(any_value, any_value.WhichOneof("value"))

    return {attribute.key: value(attribute.value) for attribute in given}


def span(message):
    return {
        "trace": message.trace_id.hex(),
        "id": message.span_id.hex(),
        "parent": message.parent_span_id.hex(),
        "state": message.trace_state,
        "name": message.name,
        "kind": message.kind,
        "began": message.start_time_unix_nano,
        "ended": message.end_time_unix_nano,
        "attributes": attributes(message.attributes),
        "failed": message.status.code == 2,
        "flags": message.flags,
    }


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = statuses.pop(0) if statuses else 200
        if status == 200:
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            # What has no place in the messages is kept apart: nothing may be.
            reencoded = ExportTraceServiceRequest()
            reencoded.CopyFrom(request)
            reencoded.DiscardUnknownFields()
            assert reencoded.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)
            assert MessageToDict(request)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    write({
                        "line": f"{self.command} {self.path}",
                        "headers": {name.lower(): value for name, value in self.headers.items()},
                        "resource": attributes(resource.resource.attributes),
                        "scope": scope.scope.name,
                        "spans": [span(message) for message in scope.spans],
                    })
        response = ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
write({"port": server.server_address[1]})
server.serve_forever()
