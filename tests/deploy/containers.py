"""tests: what every service of a compose file must hold, whoever wrote the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml

SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_text(encoding="utf-8"))
"""The Compose Specification's own schema (github.com/compose-spec/compose-spec, commit 170098b, Apache-2.0)."""


def read_compose(text: str) -> dict[str, Any]:
    """A compose file that follows the specification; raises where it does not."""
    compose = yaml.safe_load(text)
    jsonschema.Draft7Validator(SCHEMA).validate(compose)
    return compose


def weaknesses(service: dict[str, Any]) -> list[str]:
    """What a service may do that no part of FedMVI needs."""
    found = []
    if service.get("read_only") is not True:
        found.append("its root file system can be written")
    if service.get("cap_drop") != ["ALL"]:
        found.append("it keeps capabilities")
    if "no-new-privileges:true" not in service.get("security_opt", []):
        found.append("it may gain privileges")
    if str(service.get("user", "10001")).split(":")[0] in ("0", "root"):
        found.append("it is root")
    for word in ("privileged", "cap_add", "devices", "pid", "ipc", "userns_mode", "network_mode"):
        if word in service:
            found.append(f"it has `{word}`")
    if not any(str(line).startswith("/tmp") for line in service.get("tmpfs", [])):
        found.append("it has no /tmp in memory")
    if any("docker.sock" in str(volume) for volume in service.get("volumes", [])):
        found.append("it rules the container engine")
    if "pids_limit" not in service:
        found.append("its processes have no limit")
    return found


def published(compose: dict[str, Any]) -> dict[str, list[str]]:
    """The ports of each service that are reached from outside."""
    return {name: [str(port) for port in service.get("ports", [])] for name, service in compose["services"].items()}
