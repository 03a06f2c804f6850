"""Images and files as Anthropic's image and document blocks.

https://platform.claude.com/docs/en/build-with-claude/vision
https://platform.claude.com/docs/en/build-with-claude/pdf-support
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from mimetypes import MimeTypes
from os.path import splitext
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.v1.content_pb2 import FilePart, InputFile
from orjson import Fragment

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

_SAME_TYPES: Mapping[str, str] = MappingProxyType({"image/jpg": "image/jpeg", "application/x-pdf": "application/pdf"})
_ANY = "application/octet-stream"
_OFFICE = "application/vnd.openxmlformats-officedocument."
_NEWER_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".md": "text/markdown",
        ".webp": "image/webp",
        ".gz": "application/gzip",
        ".docx": f"{_OFFICE}wordprocessingml.document",
        ".xlsx": f"{_OFFICE}spreadsheetml.sheet",
        ".pptx": f"{_OFFICE}presentationml.presentation",
    }
)
"""By the ends of file names: types that not every Python knows."""
_URL_PATH = re.compile(r"https?://[^/?#]*(?P<path>/[^?#]*)", re.IGNORECASE)
_KNOWN_TYPES = MimeTypes()
DOCUMENT_FIELDS = ("citations", "context", "title")
"""Fields of a document block that a file part may carry beside what the schema knows."""


def unsupported_image(url: str) -> str | None:
    """Return the media type of a data URI that is no image Anthropic reads, else None."""
    media_type = _media_type(url)
    return None if media_type is None or media_type in IMAGE_TYPES else media_type


def unsupported_file(file: InputFile) -> str | None:
    """Return what keeps a file from Anthropic, or None."""
    if file.file_id:
        return None
    if not file.file_data:
        return "a file without file_data or file_id"
    media_type = _file_type(file)
    if media_type in IMAGE_TYPES or media_type == "application/pdf":
        return None
    if _is_url(file.file_data):
        return f"a file of type {media_type} by URL"
    return None if _is_text(media_type) else f"a file of type {media_type}"


def image_block(url: str) -> dict[str, Any]:
    """Return the image block of a URL or data URI."""
    media_type = _media_type(url)
    if media_type is None:
        return {"type": "image", "source": {"type": "url", "url": url}}
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": _base64(url)}}


def file_block(part: FilePart) -> dict[str, Any]:
    """Return the document block of a file, or the image block of a file that is an image."""
    file = part.file
    block: dict[str, Any] = {"type": "document"}
    if file.file_id:
        block["source"] = {"type": "file", "file_id": file.file_id}
    else:
        media_type = _file_type(file)
        if _is_url(file.file_data):
            source = {"type": "url", "url": file.file_data}
        else:
            source = {"type": "base64", "media_type": media_type, "data": _base64(file.file_data)}
        if media_type in IMAGE_TYPES:
            return {"type": "image", "source": source}
        if source["type"] == "base64" and _is_text(media_type):
            block["source"] = {"type": "text", "media_type": "text/plain", "data": _text(file.file_data)}
        else:
            block["source"] = source
    if file.filename:
        block["title"] = file.filename
    for name in DOCUMENT_FIELDS:
        if name in part.extra:
            block[name] = Fragment(part.extra[name])
    return block


def _is_url(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type == "application/json"


def _file_type(file: InputFile) -> str:
    """Return the media type: the data URI's own, else the name's, else PDF, which OpenAI's file parts are."""
    own = _media_type(file.file_data)
    if own is not None and own != _ANY:
        return own
    in_url = _URL_PATH.match(file.file_data)
    return (
        _type_of_name(file.filename) or (_type_of_name(in_url["path"]) if in_url else None) or own or "application/pdf"
    )


def _type_of_name(name: str) -> str | None:
    suffix = splitext(name)[1].lower()
    return _NEWER_TYPES.get(suffix) or _KNOWN_TYPES.types_map[True].get(suffix)


def _media_type(uri: str) -> str | None:
    """Return the media type of a data URI, None for anything else."""
    if uri[:5].lower() != "data:":
        return None
    media_type = uri[5 : uri.find(",")].partition(";")[0].strip().lower()
    return _SAME_TYPES.get(media_type, media_type or "text/plain")


def _base64(uri: str) -> str:
    """Return the base64 text of a data URI, or of bare base64."""
    if uri[:5].lower() != "data:":
        return uri
    head, _, data = uri.partition(",")
    return data if head.lower().endswith(";base64") else b64encode(unquote_to_bytes(data)).decode()


def _text(uri: str) -> str:
    try:
        return b64decode(_base64(uri)).decode("utf-8", "replace")
    except Base64Error:
        return uri
