"""`byway demo`: a censor, a site and a relay on this computer."""
