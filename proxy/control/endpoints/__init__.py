"""The endpoints of the control API: a module for each subject, with a class whose `routes` says what it answers."""
