"""`pack_model`: a model that was trained elsewhere as a file like those of `export`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version as release
from pathlib import Path
from typing import Any

from stream_app.codec.signatures import public_key
from stream_app.core.environment import this_environment
from stream_app.core.model_file import Entry, ModelHeader
from stream_app.errors import DeclarationError, StateUntrusted, UsageError
from stream_app.hosts.log_url import DEFAULT_STATE
from stream_app.hosts.model_files import write_model_file
from stream_app.hosts.state_directory import KEY_NAME, StateDirectory
from stream_app.learning.description import describe_in_full, users_own
from stream_app.learning.digests import structural_digest
from stream_app.learning.pickles import ModelPickles
from stream_app.learning.refusals import refuse_no_object, refuse_unsuitable
from stream_app.learning.tasks import Task


def pack_model(
    model: Any,
    path: str | Path,
    *,
    task: Task,
    features: Iterable[str] | None = None,
    learned: int = 0,
    state: str | None = None,
) -> None:
    """Write a River model of your own, trained wherever, into a file for `load_model`.

    It is signed with the key of the state directory (made at first use), so whoever has another
    one names its public key to load it. `features` are those it was trained on, None for all, and
    `learned` how many examples: the file says so. The model is left alone.

    Raises `DeclarationError` for one that its own bytes would not give back exactly, or that does
    not do the task; `UsageError` where another file stands.
    """
    if not isinstance(task, Task):
        raise UsageError(f"task: expected a task, got {task!r}", attempt="task=Binary()")
    if type(learned) is not int or learned < 0:
        raise UsageError(f"learned: {learned!r} is no count", attempt="0 or more")
    if isinstance(features, str):
        raise UsageError(
            f"features: {features!r} is one string, not names", attempt=f"features=[{features!r}]"
        )
    tree = describe_in_full(model)
    refuse_no_object(tree, "model")
    refuse_unsuitable(tree, "model")
    task.predictor(model)
    known = users_own(model)
    image = exact_image(model, known)
    private = StateDirectory(Path(state or DEFAULT_STATE)).signing_key()
    header = ModelHeader(
        origin=None,
        environment=this_environment(),
        task=task.fields(),
        features=None if features is None else sorted({*features}),
        keyed=False,
        models=1,
        learned=learned,
        own=sorted(known),
        content_bytes=0,
        content_sha256="",
        created_by=f"stream-app {release('stream-app')}",
        key_name=KEY_NAME,
        public_key=public_key(private).hex(),
    )
    write_model_file(Path(path), header, [Entry("", learned, image)], private)


def exact_image(model: Any, known: dict[str, object]) -> bytes:
    """Return a model's bytes; raises `DeclarationError` unless they give the same model back."""
    pickles = ModelPickles(known)
    image = pickles.dumps(model)
    try:
        same = structural_digest(pickles.loads(image), known) == structural_digest(model, known)
        why = "what comes back is another model"
    except StateUntrusted as error:
        same, why = False, error.problem
    if not same:
        raise DeclarationError(
            f"model: cannot be restored from its own bytes: {why}",
            attempt="another River model, or functions and classes at the top of a module",
        )
    return image
