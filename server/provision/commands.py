"""server/provision: the commands `fedmvi-server provision`, `install`, `rotate`, `revoke`, `renew` and `expiring`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from common.files import write_whole
from common.terminal import EXIT_PROBLEMS, err, out, print_json
from server.provision import SOON_DAYS

if TYPE_CHECKING:
    from server.provision.provisioning import Handover

Kits = Annotated[Path, typer.Argument(help="The folder of kits, the one with `authority`.")]
SiteArgument = Annotated[str, typer.Argument(help="The site's name in the consortium.")]
Passphrases = Annotated[
    Path | None,
    typer.Option(help="File to add the passphrases to (readable by you only), instead of showing them."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_INSTALL = "fedmvi-server install {kit} --hub HUB"


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `fedmvi-server`."""
    app.command(name="provision", epilog="Example: fedmvi-server provision consortium.toml --out kits")(_provision)
    app.command(name="install", epilog="Example: fedmvi-server install kits/hub.kit --hub /srv/fedmvi/hub")(_install)
    app.command(name="rotate", epilog="Example: fedmvi-server rotate kits hospital-a")(_rotate)
    app.command(name="revoke", epilog="Example: fedmvi-server revoke kits hospital-a")(_revoke)
    app.command(name="renew", epilog="Example: fedmvi-server renew kits")(_renew)
    app.command(name="expiring", epilog="Example: fedmvi-server expiring kits --days 90")(_expiring)


@dataclass
class _Told:
    """Takes every kit as it is written: its passphrase goes into the file at once, or is shown in the end."""

    file: Path | None
    kits: list[Handover] = field(default_factory=list)

    def __call__(self, made: Handover) -> None:
        self.kits.append(made)
        if self.file is not None:
            before = self.file.read_bytes() if self.file.exists() else b""
            write_whole(self.file, before + f"{made.kit.name} {made.passphrase}\n".encode())

    def show(self, *, json_: bool) -> None:
        """Print what was written, and the passphrases unless they are in the file."""
        if json_:
            shown = [
                {"recipient": made.recipient, "kit": str(made.kit)}
                | ({} if self.file is not None else {"passphrase": made.passphrase})
                for made in self.kits
            ]
            print_json({"kits": shown, "passphrases": None if self.file is None else str(self.file)})
            return
        for made in self.kits:
            words = "" if self.file is not None else f"  passphrase [bold]{made.passphrase}[/]"
            out.print(f"wrote {escape(str(made.kit))}{words}")
        if self.kits:
            where = "shown once" if self.file is None else f"in {escape(str(self.file))}"
            out.print(f"Passphrases are {where}. Hand each over by another way than its kit, for example by telephone.")


def _provision(
    consortium: Annotated[Path, typer.Argument(help="The consortium's file.")],
    out_: Annotated[Path, typer.Option("--out", help="Folder for the kits; an earlier one gets what was added.")],
    passphrases: Passphrases = None,
    json_: AsJson = False,
) -> None:
    """Make an authority, and an encrypted start-up kit for the hub and for every hospital.

    Run it again after adding sites to the file: only they, and the hub, get a kit.
    """
    from server.provision.consortium import load_consortium
    from server.provision.provisioning import gone, provision

    declared, told = load_consortium(consortium), _Told(passphrases)
    provision(declared, out_, told)
    told.show(json_=json_)
    for name in gone(declared, out_):
        err.print(f"{escape(name)} is not in the file any more, and still admitted: `fedmvi-server revoke` ends that.")
    if not json_:
        _print_next(out_, told)


def _print_next(kits: Path, told: _Told) -> None:
    if not told.kits:
        out.print("Nothing was added; all kits are as they were.")
        return
    out.print(f"Keep {escape(str(kits / 'authority'))} offline: whoever has it can admit anybody.")
    out.print(f"Next: `{escape(_INSTALL.format(kit=kits / 'hub.kit'))}` at the hub.")


def _install(
    kit: Annotated[Path, typer.Argument(help="The hub's kit.")],
    hub: Annotated[Path, typer.Option("--hub", help="The hub's folder; it is made, or changed in place.")],
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase; without it you are asked.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Install the hub's kit, first or again: sites are admitted or admitted no more, runs stay."""
    from common.deployment.passphrases import ask_passphrase
    from server.provision.installing import install

    done = install(kit, ask_passphrase(kit, passphrase_file), hub)
    admitted = sorted(done.site_keys)
    if json_:
        print_json({"hub": str(done.folder), "issue": done.issue, "sites": admitted})
        return
    out.print(f"Hub of {escape(done.consortium)} in {escape(str(done.folder))}, issue {done.issue}.")
    out.print(f"Admitted: {escape(', '.join(admitted)) or 'nobody'}.")
    out.print(f"Next: `fedmvi-server start --hub {escape(str(hub))}`; a hub that runs notices the change.")


def _rotate(kits: Kits, site: SiteArgument, passphrases: Passphrases = None, json_: AsJson = False) -> None:
    """Give one site new keys, and revoke its old ones; also admits a revoked site again. Other kits do not change.

    From the moment when the hub's kit is installed the site needs its new kit: agree on a time.
    """
    from server.provision.provisioning import rotate

    _change(lambda told: rotate(kits, site, told), kits, passphrases, json_=json_)


def _revoke(kits: Kits, site: SiteArgument, passphrases: Passphrases = None, json_: AsJson = False) -> None:
    """Admit one site no more. It takes effect when the hub's kit is installed."""
    from server.provision.provisioning import revoke

    _change(lambda told: revoke(kits, site, told), kits, passphrases, json_=json_)


def _renew(kits: Kits, passphrases: Passphrases = None, json_: AsJson = False) -> None:
    """Give the hub a new certificate before the old one expires. No site has to do anything."""
    from server.provision.provisioning import renew

    _change(lambda told: renew(kits, told), kits, passphrases, json_=json_)


def _change(change: Callable[[_Told], object], kits: Path, passphrases: Path | None, *, json_: bool) -> None:
    told = _Told(passphrases)
    change(told)
    told.show(json_=json_)
    if not json_:
        out.print(f"Next: `{escape(_INSTALL.format(kit=kits / 'hub.kit'))}` at the hub.")


def _expiring(
    folder: Annotated[Path, typer.Argument(help="The folder of kits, or the hub's.")],
    days: Annotated[int, typer.Option(min=0, help="How far to look ahead.")] = SOON_DAYS,
    json_: AsJson = False,
) -> None:
    """List the certificates that expire soon, and what to do about each. Exit code 1 if there are any."""
    from server.provision.expiry import expiring_in

    found = expiring_in(folder, days)
    if json_:
        print_json([{"holder": e.holder, "expires": e.expires.isoformat(), "days": e.days} for e in found])
    else:
        for e in found:
            left = f"in {e.days} days" if e.days > 0 else "has expired"
            out.print(f"{escape(e.holder)}  {e.expires}  {left}: {escape(e.do)}")
        if not found:
            out.print(f"Nothing expires within {days} days.")
    if found:
        raise typer.Exit(EXIT_PROBLEMS)
