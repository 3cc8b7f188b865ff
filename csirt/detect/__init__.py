"""Columns to matches: Sigma rules over columnar batches, Sigma correlations over event time, alerts.

In: batches of one dataset (`match.Detector.match`), then their hits up to a watermark (`windows.Windows.advance`).
Out: hits (`model.hits.HITS`), then alerts that opened or grew (`AlertChange`), ordered by (time, alert id).
Drops: nothing of an event; windows above their bounds lose groups or hits, counted in `Windows.dropped`; rules that
cannot run are `Ruleset.problems`.
State: open alerts and the hits that windows still need, as bytes (`Windows.state`); matching has none.
"""
