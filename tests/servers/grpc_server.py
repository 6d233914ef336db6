"""A gRPC server (C core): the service `test.Echo`, whose messages are bytes.

    grpc_server.py PORT [CERTIFICATE KEY]

Unary echoes, or fails with the status in the metadata `fail`. Collect tells how much it got, Expand sends as much as it
is told (`COUNT SIZE`), Chat echoes each message, Refuse fails before it has read anything, and Hang waits for its end
and then writes a line.
"""

import sys
import threading
import time
from concurrent import futures

import grpc


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", "first"), ("x-user", metadata.get("x-consumer-username", ""))))
    context.set_trailing_metadata((("x-trailing", "last"), ("x-bytes-bin", b"\0\xff")))
    if "fail" in metadata:
        status = next(code for code in grpc.StatusCode if code.value[0] == int(metadata["fail"]))
        context.abort(status, "told to fail: 100% ü")
    return request


def collect(requests, context):
    count = size = 0
    for message in requests:
        count, size = count + 1, size + len(message)
    return f"{count} {size}".encode()


def expand(request, context):
    count, size = map(int, request.split())
    for number in range(count):
        yield bytes([number % 256]) * size


def chat(requests, context):
    yield from requests


def refuse(requests, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")


def hang(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    print("hanging", round(context.time_remaining() or 0), flush=True)
    ended.wait(60)
    print("ended", flush=True)
    return b""


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Expand": grpc.unary_stream_rpc_method_handler(expand),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Refuse": grpc.stream_unary_rpc_method_handler(refuse),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
}

server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", HANDLERS),))
address = f"127.0.0.1:{sys.argv[1]}"
if len(sys.argv) > 2:
    certificate, key = (open(path, "rb").read() for path in sys.argv[2:4])
    server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
else:
    server.add_insecure_port(address)
server.start()
print("listening", flush=True)
while True:
    time.sleep(3600)
