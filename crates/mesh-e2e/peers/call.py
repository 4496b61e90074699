"""Calls an xDS target many times with gRPC's own client; prints {replica: calls} as JSON.

usage: call.py TARGET CALLS   (the control plane comes from GRPC_XDS_BOOTSTRAP)
"""

import collections
import json
import sys

import grpc

# Longest wait for the first call, which waits for the whole xDS walk; and for the others.
FIRST_S, NEXT_S = 30, 10


def main(target: str, calls: int) -> None:
    spread = collections.Counter()
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary("/mesh.Echo/Unary", request_serializer=bytes, response_deserializer=bytes)
        for number in range(calls):
            answer = call(b"who", timeout=FIRST_S if number == 0 else NEXT_S, wait_for_ready=True)
            spread[answer.decode()] += 1
    print(json.dumps(spread))


main(sys.argv[1], int(sys.argv[2]))
