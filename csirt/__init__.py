"""csirt: the security-monitoring daemon of the CSIRT of a closed health network.

The folders are the data flow, in this order:
collect, sources, decode, enrich, detect, correlate, respond, notify, report, stores, cases, cli.
Stages import `model/` and the small modules beside this file, never each other.
"""

__version__ = "0.1.0"
