"""Hits to alerts over event time: exact windows, baselines, absences, and the alerts while they grow."""
