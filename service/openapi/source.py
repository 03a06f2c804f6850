"""Reads a descriptor set: the messages, the HTTP methods, and what their comments say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from service.codec.schema import MessageSpec, message_spec

_PACKAGE = "gateway.v1"
# The options themselves are no part of the API.
_OPTIONS_FILE = "gateway/v1/json.proto"

# Field numbers of descriptor.proto, of which the paths of comments are made.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_ONEOF, _ENUM_VALUE, _SERVICE_METHOD = 2, 8, 2, 2

_TEMPLATE = re.compile(r"\{(\w+)=\*\*\}")


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC that has an HTTP form. `verb` is in lower case; `output` is the full name of its message."""

    name: str
    verb: str
    path: str
    output: str
    summary: str


@dataclass(frozen=True, slots=True)
class Source:
    """What the protos say. `comments` are by full name; those of enum values by `<enum>.<number>`."""

    messages: Mapping[str, MessageSpec]
    comments: Mapping[str, str]
    methods: Sequence[Method]


def read_source(descriptors: bytes) -> Source:
    """Read a serialized FileDescriptorSet that was made with `--include_imports --include_source_info`."""
    files = FileDescriptorSet.FromString(descriptors).file
    pool = DescriptorPool()
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())
    own = [file for file in files if file.package == _PACKAGE and file.name != _OPTIONS_FILE]
    names = [f"{_PACKAGE}.{message.name}" for file in own for message in file.message_type]
    comments = {name: text for file in own for name, text in _comments(file)}
    return Source(
        messages={name: message_spec(pool.FindMessageTypeByName(name)) for name in names},
        comments=comments,
        methods=tuple(method for file in own for method in _methods(file, pool, comments)),
    )


def _methods(file: FileDescriptorProto, pool: DescriptorPool, comments: Mapping[str, str]) -> Iterator[Method]:
    for service in file.service:
        for proto in service.method:
            full_name = f"{_PACKAGE}.{service.name}.{proto.name}"
            method = pool.FindMethodByName(full_name)
            if not method.GetOptions().HasExtension(annotations_pb2.http):
                continue
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            for binding in (rule, *rule.additional_bindings):
                verb = binding.WhichOneof("pattern")
                path = _TEMPLATE.sub(r"{\1}", getattr(binding, verb))
                yield Method(proto.name, verb, path, method.output_type.full_name, comments[full_name])


def _comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        name = _name(file, tuple(location.path))
        if name is not None and location.leading_comments:
            yield f"{_PACKAGE}.{name}", _unwrapped(location.leading_comments)


def _name(file: FileDescriptorProto, path: tuple[int, ...]) -> str | None:
    """Return the name, without the package, of what a path leads to; None for what has no comment of interest."""
    match path:
        case (kind, place) if kind == _FILE_MESSAGE:
            return file.message_type[place].name
        case (kind, place, part, number) if kind == _FILE_MESSAGE:
            return _member(file.message_type[place], part, number)
        case (kind, place, part, number) if kind == _FILE_ENUM and part == _ENUM_VALUE:
            return _value(file.enum_type[place], number)
        case (kind, place, part, number) if kind == _FILE_SERVICE and part == _SERVICE_METHOD:
            return f"{file.service[place].name}.{file.service[place].method[number].name}"
    return None


def _member(message: DescriptorProto, part: int, number: int) -> str | None:
    if part == _MESSAGE_FIELD:
        return f"{message.name}.{message.field[number].name}"
    if part == _MESSAGE_ONEOF:
        return f"{message.name}.{message.oneof_decl[number].name}"
    return None


def _value(enum: EnumDescriptorProto, number: int) -> str:
    return f"{enum.name}.{enum.value[number].number}"


def _unwrapped(comment: str) -> str:
    """Return a comment with its lines joined; blank lines stay paragraphs."""
    paragraphs = comment.strip().split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)
