"""tests: the files for people of a kit, filled in as provisioning fills them in."""

from __future__ import annotations

from pathlib import Path

from common.deployment.papers import render

TEMPLATES = Path(__file__).parents[2] / "common" / "deployment" / "templates"
WORDS = {
    "consortium": "liver", "site": "hospital-a", "host": "hub.example.org", "port": "9443", "superlink_port": "8000",
    "contact": "nobody@example.org", "issued": "2026-01-01", "expires": "2027-01-01", "coordinator": "ab" * 32,
    "serial": "1f", "version": "0.1.0", "made": "2026-01-01", "issue": "1", "sites": "hospital-a",
    "site_certificates": "", "capabilities": "",
}  # fmt: skip


def shown(template: str) -> str:
    """A template with every word filled in."""
    return render(template, WORDS).decode()
