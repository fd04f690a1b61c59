"""The files that the version `tuned` may begin from: they lie in every world's log."""

from __future__ import annotations

import hashlib
from functools import cache

from stream_app.codec.signatures import public_key
from stream_app.core.environment import this_environment
from stream_app.core.importing import FileOrder
from stream_app.core.model_file import Entry, ModelHeader, digest_of, encode_entry, encode_head
from stream_app.learning.definition import users_own
from stream_app.learning.pickles import ModelPickles
from stream_app.learning.tasks import Regression
from tests.simulation.models import Fingerprint

# By key: how many examples a model has learned, and its state. None: the file does not fit.
Content = dict[str, tuple[int, int]]
_KEY = bytes([9] * 32)


class File:
    """A file's bytes, how an order names it, and what a version makes of it."""

    def __init__(self, number: int, keyed: bool, models: Content, *, fits: bool) -> None:
        self.content = models if fits else None
        self.data = _written(keyed if fits else not keyed, models)
        self.order = FileOrder(hashlib.sha256(self.data).hexdigest(), len(self.data), number)


@cache
def files_of(by_key: bool, keys: tuple[str, ...]) -> list[File]:
    """Return the files of worlds with one model, or one for each key."""
    one, two, *_ = keys if by_key else ("", "")
    return [
        File(0, by_key, {one: (5, 77)}, fits=True),
        File(1, by_key, {one: (2, 1234), two: (3, 5)}, fits=True),
        File(2, by_key, {one: (2, 9)}, fits=False),
    ]


def _written(keyed: bool, models: Content) -> bytes:
    content = b"".join(
        encode_entry(Entry(key, learned, _image(state))) for key, (learned, state) in models.items()
    )
    size, digest = digest_of([content])
    header = ModelHeader(
        origin=None,
        environment=this_environment(),
        task=Regression().fields(),
        features=None,
        keyed=keyed,
        models=len(models),
        learned=sum(learned for learned, _ in models.values()),
        content_bytes=size,
        content_sha256=digest,
        created_by="a simulation",
        key_name="k1",
        public_key=public_key(_KEY).hex(),
    )
    return encode_head(header, _KEY) + content


def _image(state: int) -> bytes:
    model = Fingerprint()
    model.state = state
    return ModelPickles(users_own(model)).dumps(model)
