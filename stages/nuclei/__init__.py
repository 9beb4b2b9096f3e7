"""The library that the pipeline's scripts share: one subject a module, no import with side effects."""
