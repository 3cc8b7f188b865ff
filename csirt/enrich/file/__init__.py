"""The address register's file: YAML or TOML to entries, every problem with its file and line.

In: a path. Out: `read.entries`, the entries of `model/member.py`, and every problem at once.
Nothing is guessed: a value that is not understood is a problem, and a register with a problem is not used.
"""
