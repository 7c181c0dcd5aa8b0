"""The event loop of a running Byway, its timers, and the undocumented parts of Python's library that Byway uses.

These parts are not documented, and a later Python may change them. So this page lists each use, and the loss without
it; the rest of Byway calls only documented parts. Read in the source of Python 3.11 and 3.13, and tried on both.

`choice` tries the loop before it is used, and takes asyncio's own where a part is not as expected, or where
`[limits] event_loop` says so. Without the first three groups, only CPU time is lost: a tunnel takes more of it
(docs/performance.md, "What costs what").

of asyncio.SelectorEventLoop, by `polling_loop`:
  _run_once               replaced: a pass waits in the poller's epoll set
  _process_events         hands over the events of asyncio's own descriptors
  _ready                  callbacks of the next pass: `call_soon` adds to it, a pass empties it
  _scheduled              the heap of timers
  _timer_cancelled_count  cancelled timers in that heap, so that they do not pile up
  _stopping               `stop` was called, so the pass is the last one
  _closed, _debug         `call_soon` is asyncio's then, which refuses or checks
of asyncio.Handle, by `polling_loop`, which makes one without its constructor, and calls it:
  _callback, _args        the function, and its arguments
  _context                the context of the call
  _cancelled              whether it was cancelled
  _loop                   the loop of the handle
  _repr                   the text that a cancelled one keeps in debug mode; None
  _source_traceback       the place where it was made, in debug mode; None
of asyncio.TimerHandle, by `polling_loop`:
  _when                   the time at which it is due
  _scheduled              whether it is in the heap, so that asyncio counts it when it is cancelled
of asyncio.Handle, by `faults`:
  _callback               the name of the function that failed; without it the log says "a callback"
of socket.socket, by `accepting`:
  _accept                 a client's descriptor without a socket object; without it a client costs 12 calls of Python
                          functions more
of ssl.SSLObject, by `dialers.tls`, before Python 3.13 alone:
  _sslobj                 the certificates that a server sent; without it Byway has the site's own alone, and names a
                          known interception authority only where that signed it itself

`timers` borrows nothing.
"""
