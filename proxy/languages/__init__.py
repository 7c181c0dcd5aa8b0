"""The languages in which Byway speaks to people: which one is wanted, and how a phrase is said in it.

The catalogues lie beside the modules, one file a language, in the format of gettext. Nothing is read on import.
"""
