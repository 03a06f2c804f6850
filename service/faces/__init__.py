"""The only rooms that know gRPC: each face decodes, asks the use case and encodes."""
