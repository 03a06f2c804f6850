"""The vendors, by dialect."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.contract.dialects.talk import Vendor
from tests.contract.dialects.vendors.anthropic import AnthropicVendor
from tests.contract.dialects.vendors.google import GoogleVendor
from tests.contract.dialects.vendors.openai import OpenAiVendor

VENDORS: Mapping[str, Vendor] = MappingProxyType(
    {vendor.dialect: vendor for vendor in (OpenAiVendor(), AnthropicVendor(), GoogleVendor())}
)
