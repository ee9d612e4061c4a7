"""server/hub: asks the SuperLink of a hub whether it serves."""

from __future__ import annotations

import grpc  # type: ignore[import-untyped]
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse  # type: ignore[import-untyped]
from grpc_health.v1.health_pb2_grpc import HealthStub  # type: ignore[import-untyped]

CHECK_SECONDS = 2.0


def superlink_serves(port: int) -> bool:
    """Whether the SuperLink's health service (gRPC, on the loopback address) says that it serves."""
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=CHECK_SECONDS)
    except grpc.RpcError:
        return False
    return bool(answer.status == HealthCheckResponse.SERVING)
