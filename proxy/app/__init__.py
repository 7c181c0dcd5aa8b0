"""The application: makes the parts of a run, subscribes them to events, and starts, reloads and ends it."""
