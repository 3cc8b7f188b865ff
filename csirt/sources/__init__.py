"""Bytes that rest somewhere become chunks with a position; nothing is parsed beyond finding where a unit begins.

In: spool segments, capture files, growing logs. Out: `model/chunk.py`, with the offset up to which they were read.
Drops: torn blocks, fragments, frames that are no UDP, over-long lines; counted by reason in `Chunk.lost`.
State: none of its own; a restart continues from the committed `Position`.
"""
