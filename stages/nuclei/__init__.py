"""The library that the pipeline's scripts share: one subject a module, no import with side effects but two, both here.

While a script of this project still imports the rest, Ctrl-C ends it with one word instead of a traceback (`errors`).
And torch's threads share the processor with other work, which has to be set before torch is imported (`machine`).
"""

from nuclei.base import errors as errors
from nuclei.base.machine import share_cores

share_cores()
