"""The event loop of a running Byway, and its timers: what is built on the inside of asyncio stays in here."""
