"""What a model's bytes promise: the same behaviour for ever, and nothing but what is listed."""

from __future__ import annotations

import collections
import copyreg
import functools
import io
import operator
import os
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st
from river import (
    compose,
    forest,
    linear_model,
    naive_bayes,
    neighbors,
    preprocessing,
    proba,
    stats,
    tree,
)

from stream_app.cli.hash_seed import SEED
from stream_app.errors import DeclarationError, StateUntrusted
from stream_app.learning import allowed_globals
from stream_app.learning.digests import structural_digest
from stream_app.learning.pickles import dumps, loads
from stream_app.learning.rebuilders import UNSEEDED

from . import listing
from .catalogue import catalogue, example, step_for

pytestmark = pytest.mark.filterwarnings("ignore")  # River's, of overflows on these examples

# Not exact through any pickle, or not even twice in one process: a pipeline must refuse them.
NOT_EXACT = {
    "river.cluster.streamkmeans:STREAMKMeans#0",  # unseeded inside
    "river.feature_extraction.kernel_approx:RandomTreesEmbedding#0",  # keyed by addresses
    "river.multioutput.chain:ClassifierChain#2",  # iterates over a set of numbers
    "river.multioutput.chain:MonteCarloClassifierChain#2",
    "river.multioutput.chain:ProbabilisticClassifierChain#2",
    "river.stats.kolmogorov_smirnov:KolmogorovSmirnov#0",  # draws from the global generator
    "amrules",  # keyed by addresses
}
REFUSED = {"river.preprocessing.lda:LDA#0"}  # keeps functions of NumPy that make arrays


def _models() -> list[tuple[str, bytes]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(name, pickle.dumps(model)) for name, model in catalogue()]


MODELS = _models()


def _both_say_the_same(name: str, original: bytes, examples: int, cuts: set[int]) -> None:
    step = step_for(lambda: pickle.loads(original))
    undisturbed, disturbed = pickle.loads(original), loads(dumps(pickle.loads(original)))
    assert structural_digest(undisturbed) == structural_digest(disturbed), name
    for n in range(examples if step else 0):
        said = []
        for model in (undisturbed, disturbed):
            try:
                said.append(repr(step(model, n)) if step else "")
            except Exception as error:
                said.append(repr(error))
        assert said[0] == said[1], f"{name} at example {n}"
        if n in cuts:
            disturbed = loads(dumps(disturbed))
    assert structural_digest(undisturbed) == structural_digest(disturbed), name


def test_every_model_of_the_catalogue_goes_on_as_if_it_had_never_been_saved() -> None:
    """Under the order of hashes that models run under: a tree with targets has a set of names."""
    code = "from tests.learning.test_pickles import all_go_on; all_go_on()"
    root, environment = Path(__file__).parents[2], {**os.environ, "PYTHONHASHSEED": SEED}
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=False)
    assert ended.returncode == 0


def all_go_on() -> None:
    """Save and go on with every model that a pipeline takes; raises `AssertionError`."""
    chance = random.Random(7)
    for name, original in MODELS:
        if name not in NOT_EXACT | REFUSED:
            cuts = {chance.randrange(30) for _ in range(3)}
            _both_say_the_same(name, original, 30, cuts)


@pytest.mark.parametrize(
    "name", ["scaler|logreg", "tree(nba)", "nb", "arf(nba)", "hat(nba)", "arfr(adaptive)", "srp"]
)
def test_a_long_life_with_many_saves_is_exact(name: str) -> None:
    _both_say_the_same(name, dict(MODELS)[name], 400, set(range(37, 400, 61)))


def test_a_model_that_cannot_be_saved_exactly_is_refused() -> None:
    for name in REFUSED:
        with pytest.raises((DeclarationError, StateUntrusted), match="not listed"):
            loads(dumps(pickle.loads(dict(MODELS)[name])))


def test_an_unlisted_part_is_refused_while_saving() -> None:
    model: Any = linear_model.LogisticRegression()
    model.lock = io.BytesIO()
    with pytest.raises(DeclarationError, match="BytesIO"):
        dumps(model)


def test_a_lambda_is_refused_while_saving() -> None:
    with pytest.raises(DeclarationError, match="named functions"):
        dumps(compose.FuncTransformer(lambda x: x))


def double(x: dict[str, float]) -> dict[str, float]:
    return {name: 2 * value for name, value in x.items()}


class Tripled(linear_model.LinearRegression):
    pass


def test_a_users_own_function_and_class_are_saved_when_they_are_declared() -> None:
    own = {f"{__name__}:double": double, f"{__name__}:Tripled": Tripled}
    model = compose.FuncTransformer(double) | Tripled()
    model.learn_one({"a": 1.0}, 2.0)
    restored: Any = loads(dumps(model, own), own)
    assert type(restored.steps["Tripled"]) is Tripled
    assert restored.predict_one({"a": 1.0}) == model.predict_one({"a": 1.0})


def test_a_users_own_class_is_refused_without_a_declaration() -> None:
    with pytest.raises(DeclarationError, match="Tripled"):
        dumps(Tripled())
    with pytest.raises(StateUntrusted, match="double"):
        loads(dumps(compose.FuncTransformer(double)))


def test_a_generator_without_a_seed_costs_nothing() -> None:
    model = naive_bayes.GaussianNB()
    for n in range(50):
        x, _, flag, _ = example(n)
        x.pop("c")
        model.learn_one(x, flag)
    assert len(dumps(model)) * 20 < len(pickle.dumps(model))


def test_a_generator_with_a_seed_goes_on_where_it_was() -> None:
    seeded: Any = proba.Gaussian(seed=3)
    for value in (1.0, 2.0, 4.0):
        seeded.update(value)
    seeded.sample()
    restored: Any = loads(dumps(seeded))
    assert restored.sample() == seeded.sample()
    assert vars(loads(dumps(proba.Gaussian())))["_rng"] is UNSEEDED


def test_shared_parts_stay_shared() -> None:
    model = forest.ARFClassifier(n_models=3, seed=1)
    for n in range(30):
        x, _, flag, _ = example(n)
        model.learn_one(x, flag)
    restored: Any = loads(dumps(model))
    assert all(tree.rng is restored._rng for tree in restored.models)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([], dtype=np.float32),
        np.array(["a", "bc"]),
        np.array(3.5),
    ],
)
def test_arrays_keep_type_shape_order_and_bits(value: np.ndarray[Any, Any]) -> None:
    restored: Any = loads(dumps(value))
    assert restored.dtype == value.dtype
    assert restored.strides == value.strides
    assert restored.tobytes() == value.tobytes()
    assert restored.flags.writeable


def test_an_array_of_no_rows_keeps_its_columns() -> None:
    restored: Any = loads(dumps(np.zeros((0, 5))))
    assert restored.shape == (0, 5)


def test_plain_values_come_back_as_they_were() -> None:
    generator = np.random.RandomState(3)
    generator.normal()
    restored: Any = loads(dumps([generator, np.float64(0.1), 1 + 2j, range(1, 9, 2), -0.0, {1}]))
    assert restored[0].normal() == generator.normal()
    assert type(restored[1]) is np.float64
    assert restored[2:4] == [1 + 2j, range(1, 9, 2)]
    assert struct.pack("<d", restored[4]) == struct.pack("<d", -0.0)


def test_the_list_is_what_the_catalogue_of_this_river_needs() -> None:
    # After an upgrade: python -m tests.learning.listing, ruff format, and read what changed.
    values, methods = listing.used()
    assert listing.instances() == allowed_globals.INSTANCES
    assert listing.MADE == allowed_globals.MADE
    assert values == allowed_globals.VALUES
    assert methods == allowed_globals.METHODS


# --- Hostile bytes -------------------------------------------------------------------------------


def _text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def _global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93"


def _ours(name: str) -> bytes:
    return _global("stream_app.learning.rebuilders", name)


def _blank(name: str) -> bytes:
    return _ours("blank") + _text(name) + b"\x85R)R"


def _value(name: str) -> bytes:
    return _global(*name.split(":"))


def _program(body: bytes) -> bytes:
    return b"\x80\x05" + body + b"."


def _refused(data: bytes, match: str = "refused") -> None:
    with pytest.raises(StateUntrusted, match=match):
        loads(data)


class _Calls:
    """Pickles as a call of anything."""

    def __init__(self, func: Any, *args: Any) -> None:
        self.parts = func, args

    def __reduce__(self) -> Any:
        return self.parts


RECONSTRUCT: Any = vars(copyreg)["_reconstructor"]
NEWOBJ: Any = vars(copyreg)["__newobj__"]


@pytest.mark.parametrize(
    "func",
    [
        os.system, eval, exec, compile, __import__, getattr, setattr, delattr, vars, open, print,
        type, object, globals, subprocess.Popen, subprocess.run, functools.partial,
        functools.reduce, operator.attrgetter, operator.methodcaller, operator.itemgetter,
        types.FunctionType, types.CodeType, types.MethodType, np.load, np.fromfile, np.save,
        np.frombuffer, np.dtype, np.ndarray, np.array, pickle.loads, pickle.Unpickler,
        RECONSTRUCT, NEWOBJ, collections.deque, collections.OrderedDict,
        random.Random, io.FileIO, Path, map, filter, iter,
    ],
)  # fmt: skip
def test_a_function_or_class_that_is_not_listed_is_refused_by_name(func: Any) -> None:
    name = func.__qualname__ if not isinstance(func, np.ufunc) else func.__name__
    if func in (RECONSTRUCT, NEWOBJ):
        name = func.__name__
    module = func.__module__ or "builtins"
    _refused(_program(_global(module, name) + b")R"), match=f"{name}.*not listed")


def test_nothing_runs_when_hostile_bytes_of_the_usual_kind_are_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    calls = [
        _Calls(os.system, f"touch {marker}"),
        _Calls(eval, f"open({str(marker)!r}, 'w')"),
        _Calls(exec, f"open({str(marker)!r}, 'w')"),
        _Calls(subprocess.check_call, ["touch", str(marker)]),
        _Calls(getattr(Path, "touch"), marker),  # noqa: B009 - as an attacker writes it
    ]
    for call in calls:
        for protocol in range(6):
            _refused(pickle.dumps(call, protocol))
            _refused(pickle.dumps([linear_model.LinearRegression(), {"a": call}], protocol))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "str.__class__"),
        ("builtins", "tuple.__class__.__subclasses__"),
        ("river.stats.mean", "Mean.__init__.__globals__"),
        ("river.stats.mean", "Mean.update"),
        ("stream_app.learning.rebuilders", "importlib.import_module"),
        ("stream_app.learning.rebuilders", "import_listed"),
        ("stream_app.learning.rebuilders", "UNSEEDED"),
        ("stream_app.learning.rebuilders", "blank._call"),
        ("stream_app.learning.pickles", "loads"),
        ("river.utils.rolling", "inspect"),
        ("river.stats.mean:Mean", ""),
        ("", ""),
    ],
)
def test_a_name_is_looked_up_as_a_whole_and_never_walked(module: str, name: str) -> None:
    _refused(_program(_global(module, name)), match="not listed")


@pytest.mark.parametrize(
    ("opcode", "what"),
    [
        (b"cos\nsystem\n", "GLOBAL"),
        (b"(S'x'\nios\nsystem\n", "INST"),
        (b"\x82\x01", "EXT1"),
        (b"\x84\x01\x00\x00\x00", "EXT4"),
        (b"Pname\n", "PERSID"),
        (b"NQ", "BINPERSID"),
        (b"Nr\xff\xff\xff\x7f", "LONG_BINPUT of two billion"),
        (b"Nq\x01", "BINPUT"),
        (b")\x81", "NEWOBJ"),
        (b"N2", "DUP"),
        (b"\x97", "NEXT_BUFFER"),
        (b"\x96" + b"\xff" * 7 + b"\x7f", "BYTEARRAY8 of nine exabytes"),
        (b"\x8e" + b"\xff" * 8, "BINBYTES8 of more"),
        (b"B\xff\xff\xff\xff", "BINBYTES of four gigabytes"),
        (b"\x8b\xff\xff\xff\x7f", "LONG4 of two gigabytes"),
        (b"\x95" + b"\xff" * 8, "FRAME beyond the end"),
    ],
)
def test_an_opcode_that_we_never_write_is_refused_before_anything_runs(
    opcode: bytes, what: str
) -> None:
    _refused(_program(opcode))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x95\x09" + b"\0" * 7 + b"\x95\x00" + b"\0" * 7 + b"N", "frame within a frame"),
        # An opcode across the end of its frame is read from elsewhere than it is written.
        (b"\x95\x02" + b"\0" * 7 + b"NC\x05Nr\xff\xff\x7f", "foreign or cut opcode 0x43"),
        (b"\x95\x06" + b"\0" * 7 + b"NB\x02\0\0\0NN", "cut short"),
    ],
)
def test_frames_hold_whole_opcodes(body: bytes, why: str) -> None:
    _refused(_program(body), match=why)


def test_extension_codes_do_not_reach_past_the_list() -> None:
    copyreg.add_extension("os", "system", 240)
    try:
        _refused(pickle.dumps(os.system, 2))
        _refused(_program(b"\x82\xf0"))
    finally:
        copyreg.remove_extension("os", "system", 240)


BUILDS = [
    # A shared function or class as the target of BUILD.
    _ours("blank") + b"}\x8c\x05_callNsb",
    _ours("partial") + b"N}" + _text("_call") + b"Ns\x86b",
    _value("copy:deepcopy") + b"N}" + _text("__defaults__") + b"Ns\x86b",
    _value("copy:deepcopy") + b"}" + _text("poison") + b"K\x01sb",
    _value("river.stats.mean:Mean") + b"N}" + _text("update") + b"Ns\x86b",
    _value("river.stats.mean:Mean") + b"N}" + _text("__qualname__") + _text("Oops") + b"s\x86b",
    _value("river.stats.mean:Mean") + b"N}" + _text("new") + b"Ns\x86b",
    _value("collections:defaultdict") + b"N}" + _text("get") + b"Ns\x86b",
    _ours("blank") + _text("river.stats.mean:Mean") + b"\x85RN}" + _text("x") + b"Ns\x86b",
    _ours("blank") + _text("river.stats.mean:Mean") + b"\x85R}" + _text("x") + b"Nsb",
    _ours("unseeded") + b")RNb)b",
    _ours("ufunc") + _text("log") + b"\x85R}" + _text("x") + b"Nsb",
    _ours("method")
    + _blank("river.stats.mean:Mean")
    + _text("clone")
    + b"\x86R}"
    + _text("x")
    + b"Nsb",
    _ours("method")
    + _text("river.linear_model.pa:PAClassifier")
    + _text("_calc_tau_0")
    + b"\x86R}"
    + _text("x")
    + b"Nsb",
    _ours("ufunc") + _text("log") + b"\x85RN}" + _text("x") + b"Ns\x86b",
]


@pytest.mark.parametrize("body", BUILDS)
def test_bytes_cannot_change_what_the_process_shares(body: bytes) -> None:
    mean, deepcopy = dict(vars(stats.Mean)), dict(vars(__import__("copy").deepcopy))
    # With and without an error after the change.
    _refused(_program(body))
    _refused(_program(body + _value("os:system")))
    assert dict(vars(stats.Mean)) == mean
    assert stats.Mean.__qualname__ == "Mean"
    assert dict(vars(__import__("copy").deepcopy)) == deepcopy
    assert __import__("copy").deepcopy.__defaults__ is not None
    loads(dumps(preprocessing.StandardScaler()))


CALLS = [
    _ours("method") + _blank("river.stats.mean:Mean") + _text("__reduce_ex__") + b"\x86R",
    _ours("method") + _blank("river.stats.mean:Mean") + _text("__class__") + b"\x86R",
    _ours("method") + _text("builtins:str") + _text("format") + b"\x86R",
    _ours("method") + _text("builtins:str") + _text("__class__") + b"\x86R",
    _ours("method") + _text("os:path") + _text("exists") + b"\x86R",
    _ours("blank") + _text("os:system") + b"\x85R",
    _ours("blank") + _text("builtins:type") + b"\x85R",
    _ours("made") + _text("subprocess:Popen") + b"\x85R",
    # What is no blank instance cannot be filled: a class, a function, a rebuilder, a list.
    _ours("fill") + _value("river.stats.mean:Mean") + b"}" + _text("x") + b"Ns\x86R",
    _ours("fill") + _value("copy:deepcopy") + b"}" + _text("x") + b"Ns\x86R",
    _ours("fill") + _ours("partial") + b"}" + _text("_call") + b"Ns\x86R",
    _ours("fill") + b"]}" + _text("x") + b"Ns\x86R",
    _ours("fill") + _blank("river.stats.mean:Mean") + b"]\x86R",
    _ours("fill")
    + _blank("river.stats.mean:Mean")
    + b"}"
    + _text("__class__")
    + _value("river.stats.mean:Mean")
    + b"s\x86R",
    _ours("made") + _text("river.stats.mean:Mean") + b"\x85R",
    _ours("ufunc") + _text("frompyfunc") + b"\x85R",
    _ours("ufunc") + _text("load") + b"\x85R",
    _ours("scalar") + _text("|O8") + b"C\x08AAAAAAAA\x86R",
    _ours("array") + b"(" + _text("|O8") + b"K\x01\x85" + _text("C") + b"C\x08AAAAAAAAtR",
    _ours("array") + b"(" + _text("|O") + b"K\x01\x85" + _text("C") + b"C\x08AAAAAAAAtR",
    _ours("array") + b"(" + _text("<f8,|O8") + b"K\x01\x85" + _text("C") + b"C\x10" + b"A" * 16
    + b"tR",
    _ours("array") + b"(" + _text("<f8") + b"J\xff\xff\xff\x7f\x85" + _text("C") + b"C\x08"
    + b"A" * 8 + b"tR",
    _ours("random_state") + b"(C\x08AAAAAAAAK\x00K\x00G" + b"\0" * 8 + b"tR",
    _ours("random_state") + b"(B" + struct.pack("<I", 2496) + b"A" * 2496 + b"M\xff\xffK\x00G"
    + b"\0" * 8 + b"tR",
    _ours("seeded") + b"C\x08AAAAAAAAN\x86R",
    _ours("partial") + _text("x") + b")}\x87R",
    _ours("defaultdict") + _text("x") + b"\x85R",
    _ours("iterator") + _text("x") + b"K\x00\x86R",
]  # fmt: skip


_HUGE = b"\x8a\x05" + (10**11).to_bytes(5, "little")  # LONG1
_RANGE = _ours("int_range") + b"K\x00" + _HUGE + b"K\x01\x87R"
# Only allowed names, few bytes, and as much memory as the machine has.
GREEDY = {
    "a range to go through": _value("builtins:tuple") + _RANGE + b"\x85R",
    "a range to sort into a set": _value("builtins:set") + _RANGE + b"\x85R",
    "a range to look for its greatest": _value("builtins:max") + _RANGE + b"\x85R",
    "a counter of a long text": _ours("counter") + _text("abc") + b"\x85R",
    "an ordered mapping of another": _ours("ordered") + b"}\x85R",
    "rows of no columns": _ours("array") + b"(" + _text("<f8") + _HUGE + b"K\x00\x86" + _text("C")
    + b"C\x00tR",
    "rows of no objects": _ours("object_array") + _HUGE + b"K\x00\x86]\x86R",
    "one text of all lengths": _ours("array") + b"(" + _text("|S2000000000") + b"K\x01\x85"
    + _text("C") + b"C\x00tR",
    # MEMOIZE the bytes once; every call takes a copy of them.
    "many arrays of the same bytes": b"B" + struct.pack("<I", 8000) + bytes(8000) + b"\x940"
    + _ours("array") + b"\x940" + 200 * (b"h\x01(" + _text("<f8") + b"M\xe8\x03\x85"
    + _text("C") + b"h\x00tR0") + b"N",
}  # fmt: skip


@pytest.mark.parametrize("what", GREEDY)
def test_a_few_bytes_of_allowed_names_take_no_memory_to_speak_of(what: str) -> None:
    tracemalloc.start()
    try:
        _refused(_program(GREEDY[what]))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", CALLS)
def test_what_bytes_may_call_looks_at_its_arguments(body: bytes) -> None:
    _refused(_program(body))


@pytest.mark.parametrize("dtype", ["|O8", "|O", "<f8,|O8", "O", "object", "", "V8", "<M8[s]"])
def test_an_array_of_pointers_is_refused_before_numpy_sees_it(dtype: str) -> None:
    shape = b"K\x01\x85" + _text("C") + b"C\x08AAAAAAAAtR"
    _refused(_program(_ours("array") + b"(" + _text(dtype) + shape), match="is not a type of plain")


def test_bytes_cannot_run_the_constructor_of_a_model() -> None:
    # KNN's would make a whole graph, and an ensemble's would clone what it is given.
    for name in ("river.neighbors.knn_classifier:KNNClassifier", "river.compose.pipeline:Pipeline"):
        maker = _ours("blank") + _text(name) + b"\x85R"
        made = loads(_program(maker + b"K\x01K\x02K\x03\x87R"))
        assert vars(made) == {}
        _refused(_program(_value(name) + b")R"), match="not listed")


def test_a_compiled_part_that_panics_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for state in (b"C\x00", b"C\x04AAAA", b"C\x20" + b"\xff" * 32, b"N", b"]"):
        name = "river._river_rust.stats:RsQuantile"
        _refused(_program(_blank(name) + state + (b"b" if state != b"N" else b"Rb")))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@also(b"")
@also(b"\x80")
@also(b"\x80\x05")
@also(b"\x80\x05.")
@also(b"\x80\x05N")
@also(b"\x80\x05a.")
@also(b"\x80\x05(((((((t.")
@also(b"\x80\x05h\xff.")
@also(b"\x80\x05NR.")
@also(b"\x80\x05))b.")
def test_garbage_is_refused_and_raises_nothing_else(garbage: bytes) -> None:
    for data in (garbage, b"\x80\x05" + garbage + b"."):
        try:
            loads(data)
        except StateUntrusted:
            continue


GOOD = dumps(preprocessing.StandardScaler() | neighbors.KNNClassifier())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=4), st.integers(0, 6))
def test_damaged_bytes_load_or_are_refused_and_raise_nothing_else(
    at: int, inserted: bytes, removed: int
) -> None:
    try:
        loads(GOOD[:at] + inserted + GOOD[at + removed :])
    except StateUntrusted:
        return


def test_a_tree_that_degenerated_to_a_chain_is_saved_all_the_same() -> None:
    limit, model = sys.getrecursionlimit(), tree.HoeffdingTreeRegressor()
    for n in range(1_200):
        model.learn_one({"time": float(n)}, float((n * 7919) % 13))
    with pytest.raises(RecursionError):
        pickle.dumps(model)
    restored: Any = loads(dumps(model))
    assert structural_digest(restored) == structural_digest(model)
    assert restored.predict_one({"time": 7.0}) == model.predict_one({"time": 7.0})
    assert sys.getrecursionlimit() == limit


def test_what_is_deeper_than_the_deepest_stack_is_an_error_and_no_crash() -> None:
    value: list[Any] = []
    for _ in range(500_000):
        value = [value]
    for call in (dumps, structural_digest):
        with pytest.raises(RecursionError):
            call(value)


def test_deep_nesting_is_no_recursion() -> None:
    loads(_program(b"]" * 30_000 + b"a" * 29_999))
