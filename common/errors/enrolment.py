"""common/errors: 730-744: kits, enrolment and the hub's folder; 770-779: the way from a site to the hub."""

from __future__ import annotations

from common.errors.text import ErrorText

_NEW_KIT = "Ask the coordinator for a new kit (`fedmvi-server rotate KITS SITE`) and enrol with it."

ERRORS: dict[int, ErrorText] = {
    730: ErrorText(
        "The site '{site}' is not enrolled.", "Run `fedmvi-site enrol KIT --site DIR` with the coordinator's kit."
    ),
    731: ErrorText("The site's enrolment is damaged.", "Enrol again with the kit that you have. " + _NEW_KIT),
    732: ErrorText("The enrolment of the site '{site}' expired on {date}.", _NEW_KIT),
    733: ErrorText(
        "The kit cannot be opened: the passphrase is another one, or the file was changed on its way.",
        "Type the passphrase again; if that does not help, let the coordinator send the kit again.",
    ),
    734: ErrorText(
        "The file is no kit that may be installed.",
        "Use a file that `fedmvi-server provision` wrote, and tell the coordinator what is named here.",
    ),
    735: ErrorText("The kit or enrolment is for '{given}' and not for '{wanted}'.", "Use the one of your own site."),
    736: ErrorText("The consortium's file has {count} problem(s).", "Mend every entry that is listed."),
    737: ErrorText(
        "The folder of kits has no usable authority.",
        "Name the folder that `fedmvi-server provision` made, or restore its `authority` from a backup.",
    ),
    738: ErrorText(
        "There is no site '{site}' with valid keys in this consortium.",
        "Mend the name, or add the site to the consortium's file and run `fedmvi-server provision` again.",
    ),
    739: ErrorText(
        "The hub's folder is missing or damaged.", "Install the latest `hub.kit` with `fedmvi-server install`."
    ),
    740: ErrorText(
        "The kit is older than what the hub has: issue {given}, after {installed}.",
        "Install the latest `hub.kit`; an older one would admit keys that were revoked.",
    ),
    741: ErrorText(
        "The kit is of another authority or coordinator than the enrolment that the site '{site}' has.",
        "Call the coordinator on a number that you know. Only if the consortium was provisioned anew, move the folders "
        "`enrolment` and `enrolment.old` away and enrol again.",
    ),
    770: ErrorText(
        "The name of the hub, '{host}', is not known here.",
        "Ask your network department to resolve it, or the coordinator whether it has changed.",
    ),
    771: ErrorText(
        "Nothing answers at port {port} of '{host}'.",
        "Ask your network department to allow connections out to it; if it does, the hub is down.",
    ),
    772: ErrorText(
        "Whoever answers as '{host}' was not certified by the consortium's authority.",
        "Do not go on: something stands between you and the hub. Ask your network department not to inspect this "
        "connection, and the coordinator whether the authority has changed.",
    ),
    773: ErrorText(
        "The hub's certificate does not name '{host}'.", "Tell the coordinator: it has to name the host in the kits."
    ),
    774: ErrorText(
        "The hub's certificate is not valid today.",
        "Check the date of this machine; if it is right, the coordinator must run `fedmvi-server renew`.",
    ),
    775: ErrorText(
        "The hub does not admit this site's certificate.",
        "Ask the coordinator whether the site was revoked or has newer keys; if so, enrol with the new kit.",
    ),
    776: ErrorText(
        "The hub's proxy answers, and Flower behind it does not (status {status}).",
        "Ask the coordinator whether the hub is running (`fedmvi-server status`), and try again.",
    ),
    777: ErrorText(
        "The hub does not know this site's node key.",
        "Ask the coordinator to install the latest `hub.kit`; if the site's keys were rotated, enrol with the new kit.",
    ),
    778: ErrorText(
        "The clock of this machine is {seconds} s {direction} the hub's.",
        "Set the clock by NTP: the hub accepts at most {ahead} s ahead and {behind} s behind. If the clock here is "
        "right, tell the coordinator that the hub's is wrong.",
    ),
    779: ErrorText(
        "The hub runs Flower {hub}, and this site Flower {site}.", "Install the version of FedMVI that the hub has."
    ),
}
