"""Alerts that belong together become one incident, each link with its reason.

In: alert changes in (event time, alert id) order. Out: incidents, whole.
Drops: nothing; entities beyond a stated number of targets are left out of an incident, never its alerts.
State: in the incidents themselves, read back through the store's entity index.
"""

from csirt.correlate.fold import Correlator, correlate

__all__ = ["Correlator", "correlate"]
