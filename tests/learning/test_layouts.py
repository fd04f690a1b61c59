"""Bytes that came often are loaded by a function of their own, which makes what the machine makes.

The machine of `pickles.py` is the reference: `_loaded` is what `loads` does for every first one.
"""

import collections
import functools
import io
import pickle
import pickletools
import random
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from river import compose, linear_model, preprocessing

from stream_app.errors import StateUntrusted
from stream_app.learning import layouts, rebuilders
from stream_app.learning.digests import structural_digest
from stream_app.learning.layout_programs import compile_layout
from stream_app.learning.layouts import LAYOUTS_MAX, LENGTHS_MAX, SEEN_MIN, Layout, Layouts
from stream_app.learning.pickles import ModelPickles, dumps
from stream_app.learning.reductions import Maker

from . import users_code
from .catalogue import step_for
from .test_pickles import MODELS, NOT_EXACT, REFUSED

pytestmark = pytest.mark.filterwarnings("ignore")  # River's, of overflows on these examples

# A good part of River: among them what people have one of for each key.
QUICKLY_DUMPED: set[str] = set()
SURE = {"scaler|logreg", "river.linear_model.lin_reg:LinearRegression#0", "nb"}


def scaled() -> Any:
    return compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())


def taught(examples: int, seed: int = 1) -> bytes:
    """Return the bytes of a model that has learned so many examples of four features."""
    rng, model = random.Random(seed), scaled()
    for _ in range(examples):
        x = {f"f{i}": rng.gauss(0, 1) for i in range(4)}
        model.predict_proba_one(x)
        model.learn_one(x, rng.random() < 0.5)
    return dumps(model)


def layout_of(data: bytes, extra: dict[str, object] | None = None) -> Any:
    pickles = ModelPickles(extra or {})
    pickles._loaded(data)
    return compile_layout(data, pickles)


def made_anew(value: object) -> Any:
    """Return a value from its layout, where a dump of it is a dump of what the machine makes."""
    image = dumps(value)
    made = layout_of(image).value(image)
    assert dumps(made) == dumps(ModelPickles()._loaded(image))
    return made


def _same_either_way(name: str, original: bytes) -> bool:
    """Go on with a model from both ways of loading it; tells whether there was a second way."""
    pickles, step = ModelPickles(), step_for(lambda: pickle.loads(original))
    model, quick = pickle.loads(original), False
    for n in range(12 if step else 0):
        try:
            step(model, n)  # type: ignore[misc]
        except Exception:
            return quick
        image = dumps(model)
        layout = compile_layout(image, pickles)
        if layout is None:
            continue
        quick = True
        assert layout.fits(image), name
        slow, fast = pickles._loaded(image), layout.value(image)
        assert dumps(fast) == dumps(slow), name
        assert {layout.bytes_of(each) for each in (slow, fast)} <= {image, None}, name
        assert structural_digest(fast) == structural_digest(slow), name
        for _ in range(2):
            said = [_outcome(step, each, n + 1) for each in (slow, fast)]
            assert said[0] == said[1], f"{name} at example {n}"
        dumped = dumps(fast)
        assert dumped == dumps(slow), f"{name} after example {n}"
        found = layout.bytes_of(fast)
        if found is not None:
            QUICKLY_DUMPED.add(name)
            assert _opcodes(found) == _opcodes(dumped), f"{name} after example {n}"
    return quick


def _opcodes(image: bytes) -> list[object]:
    """Return what bytes say, whether equal texts in them are one object or several."""
    said: list[object] = []
    memo: list[object] = []
    for opcode, argument, _ in pickletools.genops(image):
        if opcode.name == "MEMOIZE":
            memo.append(said[-1] if type(said[-1]) is str else ("memo", len(said)))
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            said.append(memo[int(argument or 0)])
        elif opcode.name == "BINFLOAT":
            said.append(("float", struct.pack(">d", argument)))  # of NaN each is another
        elif opcode.name != "FRAME":
            said.append(argument if opcode.name.endswith("BINUNICODE") else (opcode.name, argument))
    return said


def _outcome(step: Any, model: Any, n: int) -> str:
    try:
        return repr(step(model, n))
    except Exception as error:
        return repr(error)


def test_every_model_of_the_catalogue_is_made_as_the_machine_makes_it() -> None:
    quick = {
        name
        for name, original in MODELS
        if name not in NOT_EXACT | REFUSED and _same_either_way(name, original)
    }
    assert quick >= SURE, sorted(quick)
    assert len(quick) > 60, sorted(quick)
    assert quick >= QUICKLY_DUMPED >= SURE - {"nb"}, sorted(QUICKLY_DUMPED)  # its texts are new
    assert len(QUICKLY_DUMPED) > 30, sorted(QUICKLY_DUMPED)


def test_another_models_numbers_are_read_from_its_own_bytes() -> None:
    layout = layout_of(taught(5, seed=1))
    for seed in range(2, 30):
        image = taught(5, seed=seed)
        assert layout.fits(image)
        assert dumps(layout.value(image)) == image


def test_bytes_that_differ_in_anything_but_a_number_do_not_fit() -> None:
    image = taught(5)
    layout = layout_of(image)
    numbers = {
        at for position, width in _numbers_in(image) for at in range(position, position + width)
    }
    for at in range(len(image)):
        damaged = bytearray(image)
        damaged[at] ^= 0x41
        assert layout.fits(bytes(damaged)) == (at in numbers), at


def _numbers_in(image: bytes) -> list[tuple[int, int]]:
    widths = {"BINFLOAT": 8, "BININT1": 1, "BININT2": 2, "BININT": 4}
    return [
        (position + 1, widths[opcode.name])
        for opcode, _, position in pickletools.genops(image)
        if opcode.name in widths and position is not None
    ]


@pytest.mark.parametrize(
    "number",
    [
        *(0.0, -0.0, float("inf"), float("nan")),
        struct.unpack("d", b"\1\2\3\4\5\6\xf4\x7f")[0],
        *(0, 255, 256, 65535, 65536, -1, -(2**31), 2**31 - 1),
    ],
)
def test_numbers_of_every_kind_come_back_to_the_bit(number: float) -> None:
    image = dumps([number, number])
    made = layout_of(image).value(image)
    assert dumps(made) == image
    assert [type(each) for each in made] == [type(number)] * 2


def test_integers_beyond_four_bytes_are_loaded_the_long_way() -> None:
    assert layout_of(dumps([2**31])) is None


def test_what_is_one_object_stays_one_and_what_is_two_stays_two() -> None:
    once: list[Any] = [1, "a word", ("b", 2.0)]
    text = "".join(["twice", " the same"])
    again = "".join(["twice", " the same"])
    value = {"x": once, "y": once, "z": [1, "a word", ("b", 2.0)], "t": text, "u": again}
    made = made_anew(value)
    assert made["x"] is made["y"]
    assert made["x"] is not made["z"]


def test_equal_tuples_are_not_folded_into_one() -> None:
    parts = [None, True]
    first, second = tuple(parts), tuple(parts)
    made = made_anew([first, second, first])
    assert made[0] is made[2]
    assert made[0] is not made[1]


def test_two_models_of_one_layout_share_nothing_that_can_change() -> None:
    image = taught(3)
    layout = layout_of(image)
    one, other = layout.value(image), layout.value(image)
    x = {f"f{i}": 0.5 for i in range(4)}
    one.learn_one(x, True)
    assert dumps(other) == image
    assert dumps(one) != image


def test_what_holds_itself_is_loaded_the_long_way() -> None:
    endless: list[Any] = []
    endless.append(endless)
    image = dumps(endless)
    assert layout_of(image) is None


def test_what_is_nested_deeper_than_functions_go_is_loaded_the_long_way() -> None:
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    assert layout_of(dumps(deep)) is None


def test_containers_of_every_kind_are_made_as_they_were() -> None:
    value = {
        "counter": collections.Counter({"a": 2, "b": 3}),
        "default": collections.defaultdict(float, {"a": 0.5}),
        "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
        "deque": collections.deque([1.0, 2.0], maxlen=3),
        "empty": [{}, [], ()],
        3: {4.5: None, False: "no"},
    }
    made = made_anew(value)
    assert made == value
    assert made["default"]["new"] == 0.0
    assert made["deque"].maxlen == 3


class Odd(users_code.Shifted):
    """What attributes can be: computed, words of Python, set through a method of the class."""

    seen: list[str] = []  # noqa: RUF012 - of the class on purpose

    def __setattr__(self, name: str, value: object) -> None:
        self.seen.append(name)
        object.__setattr__(self, name, value)


class Computed(users_code.Shifted):
    """Has in its `__dict__` what its class computes under the same name."""

    @property
    def half(self) -> float:
        return self.by / 2


def _extra(kind: type) -> dict[str, object]:
    return {f"{kind.__module__}:{kind.__qualname__}": kind}


def test_attributes_are_set_past_the_class_and_under_any_name() -> None:
    odd = Odd(2.0)
    for name in ("class", "not a name", "größe", "_Odd__private"):
        object.__setattr__(odd, name, 1.5)
    image = dumps(odd, _extra(Odd))
    Odd.seen.clear()
    made = layout_of(image, _extra(Odd)).value(image)
    assert Odd.seen == []
    assert list(made.__dict__) == list(odd.__dict__)
    assert dumps(made, _extra(Odd)) == image


def test_what_a_class_computes_is_loaded_the_long_way() -> None:
    thing = Computed(2.0)
    thing.__dict__["half"] = 7.0
    assert layout_of(dumps(thing, _extra(Computed)), _extra(Computed)) is None


def test_a_number_that_the_machine_refuses_is_refused_under_its_name() -> None:
    pickles = ModelPickles()
    image = dumps([range(0, 10**6, 10**5)])
    for _ in range(SEEN_MIN + 1):
        pickles.loads(image)
    hostile = image.replace(struct.pack("<i", 10**6), struct.pack("<i", 2**31 - 1))
    hostile = hostile.replace(struct.pack("<i", 10**5), struct.pack("<i", 1 + 2**16))
    assert hostile != image
    assert len(hostile) == len(image)
    assert pickles._layouts.find(image) is not None
    small = hostile.replace(struct.pack("<i", 1 + 2**16), struct.pack("<i", 3))
    with pytest.raises(StateUntrusted, match="a range of more than"):
        pickles.loads(small)


class Bare:
    """Stands for a part of River's that is compiled, made of its arguments and never filled."""

    def __init__(self, *args: float) -> None:
        self.args = args


def bare(*args: float) -> bytes:
    """Return bytes that `dumps` does not write: such a part's own state is missing."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    maker = Maker(rebuilders.blank, "river._river_rust.stats:RsIQR")
    pickler.dispatch_table = collections.ChainMap(
        {Bare: lambda thing: (maker, thing.args)}, ModelPickles().reducers
    )
    pickler.dump(Bare(*args))
    return buffer.getvalue()


def test_a_number_at_which_compiled_code_panics_is_refused_like_any_other() -> None:
    """A panic is no `Exception`, so it would go through whatever handles one."""
    pickles = ModelPickles()
    for _ in range(SEEN_MIN):
        pickles.loads(bare(0.25, 0.75))
    assert pickles._layouts.find(bare(0.75, 0.25)) is not None
    with pytest.raises(StateUntrusted, match="PanicException"):
        pickles.loads(bare(0.75, 0.25))


class Arguments(NamedTuple):
    by: float


def shifted(by: float) -> Any:
    return Rebuilt(by)


class Rebuilt(users_code.Shifted):
    """Says itself how it is made anew, with arguments that are more than a tuple."""

    def __reduce__(self) -> Any:
        return shifted, Arguments(self.by)


def test_bytes_that_no_function_can_be_made_of_go_on_being_loaded() -> None:
    known = [Arguments, shifted, Rebuilt]
    pickles = ModelPickles({f"{each.__module__}:{each.__qualname__}": each for each in known})
    image = pickles.dumps(Rebuilt(2.5))
    for _ in range(SEEN_MIN + 1):
        loaded: Any = pickles.loads(image)
        assert loaded.by == 2.5


def test_a_layout_is_made_once_its_bytes_came_often() -> None:
    pickles, image = ModelPickles(), taught(4)
    for _ in range(SEEN_MIN - 1):
        pickles.loads(image)
    assert pickles._layouts.find(image) is None
    pickles.loads(image)
    assert pickles._layouts.find(taught(4, seed=9)) is not None
    assert dumps(pickles.loads(taught(4, seed=9))) == taught(4, seed=9)


def test_layouts_that_stopped_coming_make_room_for_others_of_their_length() -> None:
    pickles = ModelPickles()
    ones, others = dumps(["ab", 1.5]), dumps(["cd", 1.5])
    for image in (ones, others):
        for _ in range(SEEN_MIN):
            pickles.loads(image)
        assert pickles._layouts.find(image) is not None
    assert pickles.loads(ones) == ["ab", 1.5]


def test_no_number_of_layouts_takes_memory_without_bound() -> None:
    kept = Layouts(lambda data: Layout(data, [], lambda _floats, _integers: None, lambda _: None))
    for length in range(LENGTHS_MAX + 500):
        for _ in range(SEEN_MIN):
            kept.loaded(bytes(length))
    assert len(kept._by_length) == LAYOUTS_MAX
    assert len(kept._seen) == LENGTHS_MAX
    assert kept.find(bytes(LENGTHS_MAX + 499)) is not None
    kept.loaded(bytes(layouts.BYTES_MAX + 1))
    assert layouts.BYTES_MAX + 1 not in kept._seen


def test_layouts_that_take_turns_at_one_length_leave_the_others_theirs() -> None:
    pickles = ModelPickles()
    for n in range(SEEN_MIN * LAYOUTS_MAX * 2):
        pickles.loads(dumps([("ab", "cd")[n % 2], 1.5]))
    for _ in range(SEEN_MIN):
        pickles.loads(taught(4))
    assert pickles._layouts.find(taught(4)) is not None


def test_what_never_fits_is_given_up_more_and_more() -> None:
    asked: list[bytes] = []

    def compiled(data: bytes) -> None:
        asked.append(data)

    kept = Layouts(compiled)
    for _ in range(SEEN_MIN * 1000):
        kept.loaded(b"x")
    assert len(asked) == 10


# -- and put into bytes, where numbers alone have changed

ODD: list[Any] = [
    None,
    True,
    -1,
    1,
    300,
    70_000,
    1 << 40,
    -0.0,
    1.5,
    float("-inf"),
    struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0],
    np.float64(2.5),
    np.int64(3),
    "text",
    np.str_("text"),
    {},
    {"f0": 1.0},
    [],
    (),
    float,
    preprocessing.StandardScaler(),
]


def _places(value: Any, seen: set[int]) -> Iterator[tuple[Any, Any]]:
    """Yield (dict, key) of everything that a model holds."""
    if id(value) in seen:
        return
    seen.add(id(value))
    held = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    for key in list(held):
        yield held, key
        yield from _places(held[key], seen)


def _as_the_pickler_does(layout: Layout, model: object) -> bool:
    """Tell whether a layout puts a model into bytes; they have to be the pickler's."""
    found = layout.bytes_of(model)
    if found is not None:
        assert _opcodes(found) == _opcodes(dumps(model))
    return found is not None


def test_a_model_is_put_into_the_picklers_bytes_whatever_any_part_of_it_has_become() -> None:
    image = taught(5)
    layout, pickles = layout_of(image), ModelPickles()
    places = len(list(_places(pickles._loaded(image), set())))
    quick = 0
    for place in range(places):
        for odd in [*ODD, "removed", "moved to the end", *range(places)]:
            model: Any = pickles._loaded(image)
            held, key = list(_places(model, set()))[place]
            if odd == "removed":
                del held[key]
            elif odd == "moved to the end":
                held[key] = held.pop(key)
            elif type(odd) is int and odd not in ODD:
                other, at = list(_places(model, set()))[odd]
                held[key] = other[at]  # one object where there were two
            else:
                held[key] = odd
            quick += _as_the_pickler_does(layout, model)
    assert quick > places


def test_a_feature_more_and_a_number_beyond_its_opcode_are_put_into_bytes_the_long_way() -> None:
    image = taught(255)
    layout = layout_of(image)
    model: Any = ModelPickles().loads(image)
    assert layout.bytes_of(model) == image
    x = {f"f{i}": 0.5 for i in range(4)}
    model.predict_proba_one(x)
    assert layout.bytes_of(model) == image
    model.learn_one(x, True)  # the 256th
    assert layout.bytes_of(model) is None
    for examples, kept in ((256, True), (65_535, False), (65_536, True), (70_000, True)):
        image = taught(1)
        model = ModelPickles().loads(image)
        scaler, logistic = model.steps.values()
        for name in scaler.counts:
            scaler.counts[name] = examples
        logistic.optimizer.n_iterations = examples
        layout = layout_of(dumps(model))
        assert layout.bytes_of(model) == dumps(model)
        model.learn_one(x, True)
        assert _as_the_pickler_does(layout, model) == kept
    model.learn_one({**x, "one more": 1.0}, False)
    assert layout.bytes_of(model) is None


def test_keys_that_are_texts_of_another_class_are_not_taken_for_plain_ones() -> None:
    image = taught(3)
    layout = layout_of(image)
    model: Any = ModelPickles().loads(image)
    means = model["StandardScaler"].means
    for name in list(means):
        means[np.str_(name)] = means.pop(name)
    assert layout.bytes_of(model) is None
    assert structural_digest(ModelPickles().loads(dumps(model))) == structural_digest(model)


def test_values_that_compare_as_equal_and_are_others_go_the_long_way() -> None:
    one, two = {"a": 1.0}, {"a": 1.0}
    floats = collections.defaultdict(float, a=1.0)
    for value, other in (
        ([one, one], [one, two]),
        ([one, two], [one, one]),
        (["text", 1.5], [np.str_("text"), 1.5]),
        ([True, 1.5], [np.True_, 1.5]),
        ([{"a": 300}], [{"a": 5}]),
        ([{"a": 70_000}], [{"a": 300}]),
        ([floats], [collections.defaultdict(int, a=1.0)]),
        ([floats], [{"a": 1.0}]),
        ([collections.Counter(a=1)], [collections.OrderedDict(a=1)]),
    ):
        layout = layout_of(dumps(value))
        assert layout.bytes_of(value) == dumps(value)
        assert layout.bytes_of(other) is None, other


def test_what_makes_a_default_is_looked_at_where_it_is_no_name_but_an_object() -> None:
    made: Any = functools.partial(collections.defaultdict, float)
    value: Any = collections.defaultdict(made, a=1.5)
    layout = layout_of(dumps(value))
    value.default_factory = None  # whoever wants no more keys does this
    assert layout.bytes_of(value) is None
    value.default_factory = functools.partial(collections.defaultdict, int)
    assert layout.bytes_of(value) is None


def test_attributes_in_another_mapping_or_under_names_of_another_class_go_the_long_way() -> None:
    extra, pickles = _extra(users_code.Shifted), ModelPickles(_extra(users_code.Shifted))
    layout = layout_of(pickles.dumps(users_code.Shifted(2.0)), extra)
    shifted: Any = users_code.Shifted(2.0)
    assert layout.bytes_of(shifted) == pickles.dumps(shifted)
    for state in (
        {np.str_("by"): 2.0, np.str_("seed"): None},
        collections.OrderedDict(by=2.0, seed=None),
    ):
        shifted.__dict__ = state
        assert layout.bytes_of(shifted) is None
