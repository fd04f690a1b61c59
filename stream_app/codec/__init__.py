"""Bytes to values and back, pure: decoding with the gate, encoding, schemas, signed blobs."""
