"""simulation: benchmarks: the bare app's client: an empty reply."""

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def answer(message: Message, context: Context) -> Message:  # noqa: ARG001 - Flower calls it so
    """Answer with nothing."""
    return Message(RecordDict(), reply_to=message)
