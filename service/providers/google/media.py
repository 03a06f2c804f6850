"""Media of a request as Gemini parts: inline for data URIs, by reference for everything else. Nothing is fetched."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.v1.content_pb2 import AudioFormat, InputAudio, InputFile

Part = dict[str, Any]

IMAGE = "image/jpeg"
VIDEO = "video/mp4"
DOCUMENT = "application/pdf"

_AUDIO: Mapping[int, str] = MappingProxyType(
    {
        AudioFormat.AUDIO_FORMAT_UNSPECIFIED: "audio/wav",
        AudioFormat.AUDIO_FORMAT_WAV: "audio/wav",
        AudioFormat.AUDIO_FORMAT_MP3: "audio/mp3",
        AudioFormat.AUDIO_FORMAT_FLAC: "audio/flac",
        AudioFormat.AUDIO_FORMAT_M4A: "audio/m4a",
        AudioFormat.AUDIO_FORMAT_OGG: "audio/ogg",
        AudioFormat.AUDIO_FORMAT_PCM16: "audio/pcm",
    }
)

# https://ai.google.dev/gemini-api/docs/file-input-methods
_BY_EXTENSION: Mapping[str, str] = MappingProxyType(
    {
        "png": "image/png",
        "jpg": "image/jpeg",
        "jpeg": "image/jpeg",
        "webp": "image/webp",
        "gif": "image/gif",
        "bmp": "image/bmp",
        "heic": "image/heic",
        "heif": "image/heif",
        "avif": "image/avif",
        "wav": "audio/wav",
        "mp3": "audio/mp3",
        "flac": "audio/flac",
        "m4a": "audio/m4a",
        "ogg": "audio/ogg",
        "aac": "audio/aac",
        "aiff": "audio/aiff",
        "opus": "audio/opus",
        "mp4": "video/mp4",
        "mpeg": "video/mpeg",
        "mpg": "video/mpg",
        "mov": "video/mov",
        "avi": "video/avi",
        "flv": "video/x-flv",
        "webm": "video/webm",
        "wmv": "video/wmv",
        "3gp": "video/3gpp",
        "pdf": "application/pdf",
        "json": "application/json",
        "txt": "text/plain",
        "md": "text/markdown",
        "html": "text/html",
        "htm": "text/html",
        "css": "text/css",
        "csv": "text/csv",
        "xml": "text/xml",
        "rtf": "text/rtf",
        "py": "text/x-python",
        "js": "text/javascript",
        "ts": "text/plain",
    }
)

_YOUTUBE = re.compile(r"https?://(?:www\.|m\.)?(?:youtube\.com|youtu\.be)/", re.IGNORECASE)


def audio_supported(audio: InputAudio) -> bool:
    """Say whether Gemini takes the audio's encoding."""
    return audio.format in _AUDIO


def media_part(url: str, default_type: str) -> Part:
    """Return the part for a data URI (sent inline) or a URL (sent as it is; Gemini fetches it).

    `default_type` is the MIME type where the URL's extension does not tell it.
    """
    if url[:5].lower() == "data:":
        return _inline(url, default_type)
    if _YOUTUBE.match(url):
        return {"fileData": {"fileUri": url}}
    return {"fileData": {"fileUri": url, "mimeType": _type_by_name(url) or default_type}}


def audio_part(audio: InputAudio) -> Part:
    """Return the part for inline audio."""
    if audio.data[:5].lower() == "data:":
        return _inline(audio.data, _AUDIO[audio.format])
    return {"inlineData": {"mimeType": _AUDIO[audio.format], "data": audio.data}}


def file_part(file: InputFile, files_url: str) -> Part:
    """Return the part for a file: a data URI, a URL, bare base64, or the id of an uploaded file (`files/abc`).

    `files_url` is the API's address, up to the version, under which uploaded files are named.
    """
    by_name = _type_by_name(file.filename)
    if file.HasField("file_data"):
        if re.match(r"(?:data:|https?://|gs://)", file.file_data[:8], re.IGNORECASE):
            return media_part(file.file_data, by_name or DOCUMENT)
        return {"inlineData": {"mimeType": by_name or DOCUMENT, "data": file.file_data}}
    uri = f"{files_url}/{file.file_id}" if file.file_id.startswith("files/") else file.file_id
    by_name = by_name or _type_by_name(uri)
    return {"fileData": {"fileUri": uri, "mimeType": by_name} if by_name else {"fileUri": uri}}


def _inline(uri: str, default_type: str) -> Part:
    head, _, data = uri[5:].partition(",")
    media_type, *parameters = [item.strip() for item in head.split(";")]
    if "base64" in (parameter.lower() for parameter in parameters):
        parameters = [parameter for parameter in parameters if parameter.lower() != "base64"]
    else:
        data = b64encode(unquote_to_bytes(data)).decode()
        media_type = media_type or "text/plain"
    if media_type.startswith("audio/"):  # a PCM stream's sample rate is a parameter of its type
        media_type = ";".join((media_type, *parameters))
    return {"inlineData": {"mimeType": media_type or default_type, "data": data}}


def _type_by_name(name: str) -> str | None:
    path = name.partition("?")[0].partition("#")[0]
    return _BY_EXTENSION.get(path.rpartition("/")[2].rpartition(".")[2].lower())
