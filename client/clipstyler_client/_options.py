"""Options of a stylization and of previews: dictionaries with typed keys. The server decides what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypedDict, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from clipstyler.v1.names import number_of, word_of


class StylizeOptions(TypedDict, total=False):
    """How a stylization is computed; `StylizationOptions` in the contract has all ranges and defaults."""

    preset: str
    size: int
    output_size: int
    steps: int
    patches: int
    seed: int
    encoder_set: str
    crop_size: int
    learning_rate: float
    threshold: float
    threshold_rejection: bool
    augmentation: bool
    augment_fill: str
    weight_direction: float
    weight_patch: float
    weight_content: float
    weight_tv: float
    tv_form: str
    contrast: float
    enlarge: bool
    crop_overhang: float
    text_share: float
    distinctness: float
    input_noise: float
    noise_octaves: int
    border: str
    start: str
    warm_up: int
    template_set: str
    stop_patch_loss: float
    stop_patience: int
    keep_style: bool


class PreviewOptions(TypedDict, total=False):
    """Which previews: of the start and after every so many steps (0 for none), how large, "jpeg", "webp" or "png".

    `draft` asks for a picture before them, in a style at hand: "auto", or the name of a style.
    """

    every_steps: int
    max_size: int
    format: str
    draft: str


class OptionError(ValueError):
    """An option that cannot even be sent: `field` names it, `problem` says why."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


FieldsT = ParamSpec("FieldsT")
MessageT = TypeVar("MessageT", bound=Message)
ValueT = TypeVar("ValueT")


def fill(message: MessageT, values: Mapping[str, Any]) -> MessageT:
    """Set the fields of a message by name, enums by their words; None is left out.

    Raises
    ------
    OptionError
        A name is unknown, or a value does not fit its field.
    """
    fields: Any = message.DESCRIPTOR.fields_by_name
    for name, value in values.items():
        if value is None:
            continue
        if name not in fields:
            raise OptionError(name, f"is unknown: use one of {', '.join(fields)}")
        enum = fields[name].enum_type
        try:
            setattr(message, name, number_of(enum, value) if enum else value)
        except (TypeError, ValueError, AttributeError) as error:
            raise OptionError(name, f"{value!r} does not fit: {error}") from error
    return message


def encoded(kind: Callable[FieldsT, MessageT], /, *args: FieldsT.args, **fields: FieldsT.kwargs) -> MessageT:
    """Make a message from its fields.

    Raises
    ------
    OptionError
        A value does not fit its field: another type, a number that is too large, or a text that is no UTF-8, such as
        an argument of a command, or the name of a file, in another encoding.
    """
    try:
        return kind(*args, **fields)
    except (TypeError, ValueError) as error:
        name = next((name for name in fields if not _fits(kind, name, fields[name])), "request")
        value = error.object if isinstance(error, UnicodeEncodeError) else fields.get(name)
        raise OptionError(name, f"{value!r} does not fit: {error}") from error


def _fits(kind: Callable[..., Message], name: str, value: object) -> bool:
    try:
        kind(**{name: value})
    except (TypeError, ValueError):
        return False
    return True


def several(field: str, values: Iterable[ValueT], *single: type) -> Iterable[ValueT]:
    """Return the values of a list; a single one is no list, even if it can be iterated over, as a text can.

    Raises
    ------
    OptionError
        They are of a type of `single`, or no list.
    """
    if isinstance(values, single) or not isinstance(values, Iterable):
        raise OptionError(field, f"must be a list of them, got {type(values).__name__}")
    return values


def present(message: Message) -> dict[str, Any]:
    """Return the fields of a message that are set, enums as their words."""
    listed: Any = message.ListFields()
    return {field.name: word_of(field.enum_type, value) if field.enum_type else value for field, value in listed}


def choose(field: str, enum: EnumDescriptor, word: str | None) -> Any:
    """Return the number of a word; 0, the default, for None.

    Raises
    ------
    OptionError
        The word is unknown.
    """
    if word is None:
        return 0
    try:
        return number_of(enum, word)
    except ValueError as error:
        raise OptionError(field, str(error)) from error
