"""Whether every regular expression of the code takes time in proportion to the text, whatever the text is."""
