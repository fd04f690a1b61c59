"""A model whose failed call leaves no trace: the last image, and a journal of the calls since.

Copying a model for every event costs more than learning from it. River's models are left
half-updated by an exception, so the model is loaded from its image again and every call since is
made again, except the one that failed. Predictions are in the journal too: a scaler that sees a
new feature while it predicts makes an entry for it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from copy import copy
from typing import Any, Final

from stream_app.errors import SurroundingsError
from stream_app.events import LabelValue
from stream_app.learning.pickles import ModelPickles
from stream_app.learning.quick_calls import quick_calls
from stream_app.learning.tasks import Task

_PREDICTED: Final = object()
# Looking at an instance's `__dict__`, as a dump must, leaves it in a slower form for ever (Python
# 3.11 and 3.12): a Hoeffding tree is half as slow again, a forest by a fifth. A model that is cheap
# to load is therefore replaced by its own image, a larger one where so many calls came since the
# last one that as many more pay for the loading. Bytes stand for its cost, so that no clock is
# needed; that journals are bounded bounds them, and so how long loading keeps others waiting.
RELOAD_BYTES_MAX = 32 * 1024
RELOAD_BYTES_PER_CALL = 400


class ModelRaised(Exception):
    """A model's call raised; the model is as it was before the call."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}: {_message(error)}")


def _message(error: BaseException) -> str:
    """Return what an error says, in characters that an output can hold."""
    try:
        text = str(error)[:300]
    except Exception:
        return "its message cannot be shown"
    return text.encode("utf-8", "backslashreplace").decode()


def _is_the_models(error: BaseException) -> bool:
    """Tell whether a call failed by what the model is, and would fail so on any machine.

    What is compiled of River panics at some NaN, with a class that no module has and that is no
    `Exception`. A signal's is none of both. Raises `SurroundingsError` when something could not be
    imported: a few models of River's, and of users, import what they need when they need it.
    """
    if isinstance(error, MemoryError | RecursionError | SurroundingsError):
        return False
    if _of_an_import(error):
        raise SurroundingsError(
            f"a model could not import what it needs ({type(error).__name__}: {_message(error)}); "
            "nothing of this was published or saved.",
            attempt="repair what is said there, then start again",
        ) from error
    return isinstance(error, Exception | SystemExit) or type(error).__module__ == "pyo3_runtime"


def _of_an_import(error: BaseException) -> bool:
    """Tell whether an error is an import's: from the machinery, or a module that is executed."""
    if not isinstance(error, Exception | SystemExit):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ImportError) or any(
        frame.f_code.co_filename.startswith("<frozen importlib.")
        or (
            frame.f_code.co_name == "<module>"
            and frame.f_code.co_filename == frame.f_globals.get("__file__")  # and no `eval`
        )
        for frame in frames
    )


def _unsteady(error: BaseException) -> SurroundingsError:
    """Return the error that ends the process when a call went well once and now does not."""
    return SurroundingsError(
        f"a model raised on a call that it had made well before ({type(error).__name__}: "
        f"{_message(error)}), so it depends on something beside its events; nothing of it was "
        "published or saved.",
        attempt="repair what the model depends on and start again",
    )


class UndoableModel:
    """One model, the number of examples it has learned, and the way back from a failed call.

    `copies` says that the model may change the features it is given, so each call gets a copy;
    `lasting` that it makes many calls before it is looked at.

    MemoryError and RecursionError depend on the machine, so they are never undone: they leave
    `predict` and `learn` as they are, and the process must end. A model that calls `exit()`, or
    whose compiled parts panic, has raised like any other: the process goes on.
    """

    __slots__ = (
        "_copies",
        "_image",
        "_journal",
        "_lasting",
        "_learn",
        "_model",
        "_note",
        "_pickles",
        "_predict",
        "_task",
        "learned",
        "settle",
    )

    def __init__(
        self,
        task: Task,
        image: bytes,
        learned: int,
        pickles: ModelPickles,
        *,
        copies: bool = False,
        lasting: bool = False,
    ) -> None:
        self._task = task
        self._copies = copies
        self._lasting = lasting
        self._pickles = pickles
        self.learned = learned
        self._load(image)

    def _load(self, image: bytes) -> None:
        self._image = image
        # Features and label of each call in turn, flat: a tuple for each would cost more.
        self._journal: list[Any] = []
        self._note = self._journal.append
        self._use(image)

    def _use(self, image: bytes) -> None:
        model: Any = self._pickles.loads(image)
        self._model = model
        calls = quick_calls(model, self._task.predictor(model), lasting=self._lasting)
        self._predict: Callable[[dict[str, Any]], Any] = calls.predict
        self._learn: Callable[[dict[str, Any], LabelValue], object] = calls.learn
        self.settle: Callable[[], None] = calls.settle
        if self._copies:
            self._copy_first()

    @property
    def model(self) -> Any:
        """River's model, with all that it has learned; for reading, until the next call."""
        self.settle()
        return self._model

    def _copy_first(self) -> None:
        # Code of users may change what it is given; the journal must hold what was given. It may
        # also go on writing into what it said, which must be kept as it was published.
        predict, learn = self._predict, self._learn
        self._predict = lambda features: copy(predict(features.copy()))
        self._learn = lambda features, label: learn(features.copy(), label)

    def predict(self, features: dict[str, Any]) -> Any:
        """Return what the model says; raises `ModelRaised`."""
        try:
            said = self._predict(features)
        except BaseException as error:
            if not _is_the_models(error):
                raise
            self._undo()
            raise ModelRaised(error) from error
        self._note(features)
        self._note(_PREDICTED)
        return said

    def learn(self, features: dict[str, Any], label: LabelValue) -> None:
        """Learn one example; raises `ModelRaised`."""
        try:
            self._learn(features, label)
        except BaseException as error:
            if not _is_the_models(error):
                raise
            self._undo()
            raise ModelRaised(error) from error
        self._note(features)
        self._note(label)
        self.learned += 1

    def calls_since_image(self) -> int:
        """Return the length of the journal, which the caller bounds by taking images."""
        return len(self._journal) // 2

    def image_bytes(self) -> int:
        """Return the size of the last image."""
        return len(self._image)

    def image(self) -> bytes:
        """Return the model's bytes; the journal starts anew from them."""
        calls = self.calls_since_image()
        if calls and len(self.last_image()) <= max(RELOAD_BYTES_MAX, calls * RELOAD_BYTES_PER_CALL):
            self._use(self._image)
        return self._image

    def last_image(self) -> bytes:
        """Return the model's bytes, for when it is not called again: it is not made quick anew."""
        if self._journal:
            self._image = self._pickles.dumps(self.model, len(self._image))
            self._journal.clear()
        return self._image

    def _undo(self) -> None:
        journal = self._journal
        self._load(self._image)
        try:
            for features, label in zip(journal[::2], journal[1::2], strict=True):
                if label is _PREDICTED:
                    self._predict(features)
                else:
                    self._learn(features, label)
        except BaseException as error:
            if not _is_the_models(error):
                raise
            raise _unsteady(error) from error
        self._journal = journal
        self._note = journal.append
        # The next failure must not pay for this journal again.
        self.image()
