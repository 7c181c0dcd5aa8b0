"""What several features answer: a frozen dataclass for each part of an answer. What one feature says is in its folder.

A class `…Answer` is a whole answer, a class `…Line` a line of a streamed one, and a class `…Json` a part of an answer,
which its `of` makes from Byway's own values. `proxy.model.document` turns them into JSON; field names are the keys.
They are a stable API: what is there never changes its meaning without a new `proxy.model.document_version`.

No answer holds a secret: relay URLs have no passwords, and a command that prints a password is shown as "(set)". Times
are seconds since the epoch, or null when they are not set; durations are seconds.
"""
