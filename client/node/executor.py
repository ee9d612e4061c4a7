"""client/node: the executor: answers messages with the code that is installed here, whatever code was delivered.

Flower would unpack and import what the coordinator sent. Here the delivered bundle is only held against what is
installed; then the installed app answers, or another installation that the hospital lists, or nobody.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode
from flwr.supercore.constant import TaskType

from client.app import app
from client.cohort.site import load_site
from client.node.folder import NodeFolder
from client.node.installations import hand_over
from common.errors import FedmviError
from common.errors.unforeseen import unforeseen
from common.federation.envelope import failure, get_all_ready, write_answers
from common.federation.records import MESSAGE_TYPE, to_records
from common.flower.bundle import refuse_other_code
from common.flower.executor import serve_tasks
from common.flower.replacing import PrivateName, refuse_other_flower
from common.observing.logs import LogFormat, configure
from common.study.fingerprint import code_fingerprint
from common.terminal import EXIT_ERROR

_MODULE = "flwr.supernode.runtime.run_clientapp"
RUN = PrivateName(
    _MODULE,
    "run_clientapp",
    ("runtime_api_address", "token", "insecure", "certificates", "parent_pid", "runtime_dependency_install"),
)
INSTALL = PrivateName(_MODULE, "install_from_fab", ("fab_file", "install_dir", "skip_prompt"))
FOLDER = PrivateName(_MODULE, "get_project_dir", ("fab_id", "fab_version", "fab_hash"))
LOAD = PrivateName(_MODULE, "get_load_client_app_fn", ("default_app_ref", "app_path", "multi_app"))
ANSWER = PrivateName(_MODULE, "push_message", ("client", "message", "context"))
OUTPUT = PrivateName(_MODULE, "push_task_output", ("client", "context", "sub_status", "details"))
NAMES = (RUN, INSTALL, FOLDER, LOAD, ANSWER, OUTPUT)
"""Every private name of Flower that the executor depends on."""

CODE = code_fingerprint()
"""Of the code as this process has loaded it; files may be replaced while it runs."""

_NUMBER = re.compile(r"FEDMVI-\d{3}")
_LOG = logging.getLogger("fedmvi.site")

Answering = Callable[[Message, Context], Message]


class Work:
    """The work on one message, in a process of its own.

    Parameters
    ----------
    folder
        The site's, for which it is done.
    installed
        Answers where the delivered code is the one that is installed here.
    """

    def __init__(self, folder: Path, installed: Answering = app) -> None:
        self._folder, self._installed = folder, installed
        self._answer: Answering = self._refuse(FedmviError(901))
        self.answered = False

    def run(self, address: str, token: str) -> int:
        """Do it, given where Flower holds the message; 0 if there was an answer, be it that there is none."""
        run, push, output = RUN.get(), ANSWER.get(), OUTPUT.get()

        def push_message(client: Any, message: Message, context: Context) -> None:
            push(client, _without_words(message), context)
            self.answered = True

        def push_task_output(client: Any, context: Context | None, sub_status: str, details: str) -> None:
            del context, details
            # Without an answer the end is reported by whoever watches this process, and the node answers.
            if self.answered:
                output(client=client, context=None, sub_status=sub_status, details="")

        INSTALL.put(self._look_at)
        FOLDER.put(lambda *_names: self._folder)
        LOAD.put(lambda **_settings: lambda *_names: self._reply)
        ANSWER.put(push_message)
        OUTPUT.put(push_task_output)
        try:
            run(runtime_api_address=address, token=token, insecure=True)
        except SystemExit:  # Flower's way to end
            return 0 if self.answered else 1
        return 1

    def _look_at(self, fab_file: bytes, install_dir: object = None, skip_prompt: bool = True) -> None:
        """Decide by the delivered bundle who answers; nothing of it is kept."""
        del install_dir, skip_prompt
        try:
            refuse_other_code(fab_file, CODE)
            self._answer = self._installed
        except FedmviError as error:
            self._answer = self._elsewhere(fab_file, error) if error.number == 502 else self._refuse(error)

    def _elsewhere(self, bundle: bytes, error: FedmviError) -> Answering:
        def answer(message: Message, _context: Context) -> Message:
            if message.metadata.message_type != MESSAGE_TYPE:
                raise FedmviError(726)
            records = hand_over(load_site(self._folder), bundle, message.content, message.metadata.ttl)
            if records is None:
                raise error
            return Message(records, reply_to=message)

        return answer

    def _refuse(self, error: FedmviError) -> Answering:
        def answer(_message: Message, _context: Context) -> Message:
            raise error

        return answer

    def _reply(self, message: Message, context: Context) -> Message:
        """Whatever goes wrong leaves as a number."""
        try:
            return self._answer(message, context)
        except FedmviError as refusal:
            error = refusal
            _LOG.error("%s", error)
        except Exception as strange:  # noqa: BLE001 - the text of an unforeseen error may hold patients' data
            error = unforeseen(strange)
            _LOG.exception("unforeseen error")
        if message.metadata.message_type == MESSAGE_TYPE:
            return Message(to_records(write_answers("", [failure("", error)])), reply_to=message)
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, error.code), reply_to=message)


def _without_words(answer: Message) -> Message:
    """An answer of which, if it is an error of Flower's, no more than a number of ours is left."""
    if answer.has_error():
        reason = answer.error.reason or ""
        number = reason if _NUMBER.fullmatch(reason) else FedmviError(901).code
        answer.error = Error(answer.error.code, number)
    return answer


def main(folder: Path, style: LogFormat) -> None:
    """Answer messages for the site in `folder` until it is told to end."""
    site = load_site(folder)
    node = NodeFolder(site)
    configure(style, node.local_log, part="executor", site=site.name, reads_patients=True)
    refuse_other_flower(NAMES)

    def address() -> str:
        return node.address.read_text(encoding="utf-8")

    def run(token: str) -> int:
        return Work(folder).run(address(), token)

    serve_tasks(address, node.secret.read_bytes(), [TaskType.CLIENT_APP], run, ahead=work_ahead())


def work_ahead() -> Iterator[Callable[[], object]]:
    """What each message would else do anew in its fork, and what may wait until the site is connected.

    Libraries that most messages need come first; what few messages need is not loaded.
    """
    for library in ("pyarrow.parquet", "scipy.special"):
        yield partial(import_module, library)
    # The cipher of masks loads its library where it is first used.
    yield Cipher(AES(bytes(32)), CTR(bytes(16))).encryptor
    yield from get_all_ready()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), LogFormat(sys.argv[2]))
    except FedmviError as error:
        logging.getLogger("fedmvi.site").critical("%s", error)
        raise SystemExit(EXIT_ERROR) from error
