"""The OpenAPI document, its page and the tables of docs/api.md, made from the protos when gen/ is made."""
