"""A gRPC client (C core) of the service `test.Echo` (tests/servers/grpc_server.py).

    grpc_client.py ADDRESS CA|- TOKEN|- CALL…

Writes a JSON object: for each call, what came of it.
"""

import json
import sys
import threading

import grpc

address, authority, token, *calls = sys.argv[1:]
LARGE = 64 * 1024
# More than any window or buffer on the way.
MANY = 200


def channel():
    options = [("grpc.enable_retries", 0)]
    if authority == "-":
        return grpc.insecure_channel(address, options)
    credentials = grpc.ssl_channel_credentials(open(authority, "rb").read())
    return grpc.secure_channel(address, credentials, options)


CHANNEL = channel()
METADATA = () if token == "-" else (("authorization", f"Bearer {token}"),)


def failure(error):
    return {"code": error.code().name, "message": error.details()}


def unary(fail=None):
    metadata = METADATA + ((("fail", fail),) if fail else ())
    try:
        response, call = CHANNEL.unary_unary("/test.Echo/Unary").with_call(b"hello", metadata=metadata, timeout=30)
        said = {"response": response.decode()}
    except grpc.RpcError as error:
        call, said = error, failure(error)
    initial, trailing = (dict(metadata or ()) for metadata in (call.initial_metadata(), call.trailing_metadata()))
    bytes_of = trailing.get("x-bytes-bin", b"").hex()
    return said | {"initial": initial.get("x-initial"), "user": initial.get("x-user"),
                   "trailing": trailing.get("x-trailing"), "bytes": bytes_of}


def collect():
    messages = (bytes(LARGE) for _ in range(MANY))
    return CHANNEL.stream_unary("/test.Echo/Collect")(messages, metadata=METADATA, timeout=60).decode()


def expand():
    messages = CHANNEL.unary_stream("/test.Echo/Expand")(f"{MANY} {LARGE}".encode(), metadata=METADATA, timeout=60)
    right = [message == bytes([number % 256]) * LARGE for number, message in enumerate(messages)]
    return f"{len(right)} {all(right)}"


def chat():
    """Each message waits for the echo of the one before; then as many as there are, in both directions at once."""
    call, echoed = CHANNEL.stream_stream("/test.Echo/Chat"), []
    answered = threading.Semaphore(1)

    def messages():
        for number in range(3):
            answered.acquire()
            yield f"{number}".encode()
        answered.acquire()
        for _ in range(MANY):
            yield bytes(LARGE)

    for message in call(messages(), metadata=METADATA, timeout=60):
        echoed.append(len(message))
        answered.release()
    return f"{len(echoed)} {sum(echoed)}"


def refuse():
    """The call is refused while it goes on."""
    held = threading.Event()

    def messages():
        yield b"first"
        held.wait(30)

    try:
        CHANNEL.stream_unary("/test.Echo/Refuse")(messages(), metadata=METADATA, timeout=20)
    except grpc.RpcError as error:
        return failure(error)
    finally:
        held.set()


def deadline():
    try:
        CHANNEL.unary_unary("/test.Echo/Hang")(b"", metadata=METADATA, timeout=1)
    except grpc.RpcError as error:
        return failure(error)["code"]


def cancel():
    call = CHANNEL.unary_unary("/test.Echo/Hang").future(b"", metadata=METADATA)
    print("calling", flush=True)
    sys.stdin.readline()
    call.cancel()
    return call.code().name


def absent():
    try:
        CHANNEL.unary_unary("/test.Absent/Unary")(b"", metadata=METADATA, timeout=30)
    except grpc.RpcError as error:
        return failure(error)


CALLS = {
    "unary": unary, "failing": lambda: unary("9"), "collect": collect, "expand": expand, "chat": chat, "refuse": refuse,
    "deadline": deadline, "cancel": cancel, "absent": absent,
}
print(json.dumps({call: CALLS[call]() for call in calls}))
