"""Teachers: packaged voices that speak texts as many people, for training and for fitting a tokenizer.

:mod:`speech` is the stage; :mod:`speakers` makes pseudo-speakers; :mod:`hibari`, :mod:`kokoro` and :mod:`piper` are the
voices, each with ``speak``.
"""
