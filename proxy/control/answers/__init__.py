"""Answers of the API that several features use, as frozen dataclasses. Answers of one feature are in its folder.

A class `…Answer` is a whole answer, a class `…Line` a line of a streamed one, and a class `…Json` a part of an answer
that differs from Byway's value, from which its `of` makes it. A value that does not differ is a part itself.
`proxy.model.document` turns them into JSON; field names are the keys. They are a stable API: a field never changes its
meaning without a new `proxy.model.document_version`.

No answer contains a secret: relay URLs have no passwords, and a command that prints a password is shown as "(set)".
Times are seconds since the epoch, or null when not set; durations are seconds.
"""
