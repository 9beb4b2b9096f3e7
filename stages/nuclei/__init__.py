"""The library that the pipeline's scripts share: one subject a module, no import with side effects but one.

That of `errors`: in this project's scripts Ctrl-C is one word, no traceback, while they still import the rest.
"""

from nuclei.base import errors as errors
