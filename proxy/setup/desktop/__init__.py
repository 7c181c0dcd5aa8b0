"""The system proxy of the desktop, and notifications."""
