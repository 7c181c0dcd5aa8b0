"""`byway doctor`: what keeps Byway from working, step by step, and mending what is Byway's own."""
