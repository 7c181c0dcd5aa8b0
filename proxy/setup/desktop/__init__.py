"""The system proxy of the desktop, which is restored at the end whatever fails."""
