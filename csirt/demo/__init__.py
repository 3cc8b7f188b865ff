"""`csirt demo`: a small closed network, a real daemon on it, an hour of traffic in about twenty seconds.

Nothing here is seen by the daemon but bytes: datagrams on its port, a capture in its folder, lines in its logs.
"""
