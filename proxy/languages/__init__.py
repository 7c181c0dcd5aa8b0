"""The languages of Byway's texts: which one a user wants, and how a phrase is translated.

The catalogues lie beside the modules, one file a language, in the format of gettext. Nothing is read on import.
"""
