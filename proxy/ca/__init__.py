"""The local certificate authority: its key, the certificates it issues, and the trust stores it is added to."""
