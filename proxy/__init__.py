"""Byway: a local proxy that finds out by itself which sites the network blocks, and goes around.

    Request   what a client asks for            Plan      the routes it may take, in order, and why
    Route     direct or relays, with strategies Attempt   one try of one route
    Flight    the client's first bytes          Outcome   the result of a connection
    Signal    one observation for a block       Belief    what was learned about a scope on a network
    Scope     a host, a domain or a prefix      Network   the uplink in use; beliefs never cross it
    Control   another site, asked direct        Re-test   direct tried again, beside a visit
    Relay     an upstream proxy of the user's   Pump      copies bytes once a route has won

Read `session/session.py`, then `model/connection.py`, then `docs/detection.md`; `docs/architecture.md` has the rooms.
"""

__version__ = "0.1.0"
