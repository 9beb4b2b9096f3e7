"""The library that the pipeline's scripts share: one subject a module, no import with side effects but one.

That of `errors`: from then on Ctrl-C is one word, no traceback, while a script still imports the rest.
"""

from nuclei import errors as errors
