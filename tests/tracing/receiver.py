#!/usr/bin/env python3
"""A receiver of traces over OTLP/HTTP that takes nothing but what the protocol says.

It prints the port that it listens on, then a line of JSON for each request: what it holds, or
`{"fault": …}`. With `--discard` it reads requests, takes all of them, and says nothing (for
measurements). With `--tls CERT KEY CA` it speaks TLS, with those alone who show a certificate of that
authority. It ends with its standard input, unless it discards.
"""

import base64
import json
import os
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DISCARD = "--discard" in sys.argv

if not DISCARD:
    from google.protobuf.unknown_fields import UnknownFieldSet
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
    from opentelemetry.proto.trace.v1 import trace_pb2

SEEN = set()
LOCK = threading.Lock()


class Fault(Exception):
    """What is wrong with a request."""


def must(holds, what):
    if not holds:
        raise Fault(what)


def no_unknown_fields(message):
    must(len(UnknownFieldSet(message)) == 0, f"{message.DESCRIPTOR.full_name} holds unknown fields")
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for one in value if field.is_repeated else [value]:
                no_unknown_fields(one)


def value_of(value):
    kind = value.WhichOneof("value")
    must(kind in ("string_value", "bool_value", "int_value", "double_value"), f"an attribute of {kind}")
    return getattr(value, kind)


def attributes(pairs):
    found = {}
    for pair in pairs:
        must(pair.key, "an attribute without a key")
        must(pair.key not in found, f"the attribute {pair.key} twice")
        found[pair.key] = value_of(pair.value)
    return found


def span_of(span, scope):
    must(len(span.trace_id) == 16 and any(span.trace_id), "a trace ID that is none")
    must(len(span.span_id) == 8 and any(span.span_id), "a span ID that is none")
    must(len(span.parent_span_id) in (0, 8), "a parent's ID of the wrong length")
    must(not span.parent_span_id or any(span.parent_span_id), "a parent's ID of zeros")
    must(span.parent_span_id != span.span_id, "a span that is its own parent")
    with LOCK:
        must(span.span_id not in SEEN, "a span that came before")
        SEEN.add(span.span_id)
    must(span.name, "a span without a name")
    must(0 < span.start_time_unix_nano <= span.end_time_unix_nano, "times in no order")
    must(span.kind in (1, 2, 3, 4, 5), f"a kind that is none: {span.kind}")
    must(span.status.code in (0, 1, 2), f"a status that is none: {span.status.code}")
    must(span.flags & 0xFF == 1, f"a span that was not sampled: {span.flags:x}")
    must(not span.flags & 0x200, "a parent that is said to be another process's")
    must(not (span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count),
         "a span that is not complete")
    return {
        "scope": [scope.name, scope.version],
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "name": span.name,
        "kind": trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": attributes(span.attributes),
        "status": trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower(),
        "message": span.status.message,
        "events": len(span.events),
        "links": len(span.links),
    }


def decoded(headers, body):
    must(headers.get("content-type") == "application/x-protobuf", "another content type")
    must("content-encoding" not in headers, "an encoding")
    request = service.ExportTraceServiceRequest()
    request.ParseFromString(body)
    no_unknown_fields(request)
    must(request.ByteSize() == len(body), "more bytes than the message needs")
    must(request.resource_spans, "nothing")
    spans = []
    resources = []
    for of_resource in request.resource_spans:
        must(of_resource.HasField("resource"), "spans of no resource")
        resources.append(attributes(of_resource.resource.attributes))
        must(of_resource.scope_spans, "a resource without spans")
        for of_scope in of_resource.scope_spans:
            must(of_scope.scope.name, "a scope without a name")
            must(of_scope.spans, "a scope without spans")
            spans.extend(span_of(span, of_scope.scope) for span in of_scope.spans)
    must(len(resources) == 1, "more than one resource")
    return {"resource": resources[0], "spans": spans}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = self.headers.get("content-length")
        body = self.rfile.read(int(length or 0))
        status = 200
        if not DISCARD:
            headers = {name.lower(): value for name, value in self.headers.items()}
            line = {"path": self.path, "headers": headers, "body": base64.b64encode(body).decode()}
            try:
                must(length is not None, "no length")
                line |= decoded(headers, body)
            except Exception as error:  # pylint: disable=broad-except
                line["fault"] = f"{type(error).__name__}: {error}"
                status = 400
            with LOCK:
                print(json.dumps(line), flush=True)
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # Who is refused a connection is none of the test's output.
    server.handle_error = lambda *_: None
    if "--tls" in sys.argv:
        cert, key, authority = sys.argv[sys.argv.index("--tls") + 1 :][:3]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    if DISCARD:
        server.serve_forever()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


main()
