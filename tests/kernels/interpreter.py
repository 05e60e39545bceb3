"""Triton's interpreter without the work that it repeats."""

from __future__ import annotations

from triton.runtime import interpreter


def patch_language_once_a_launch() -> None:
    """Two fifths of an interpreted launch went into changing ``triton.language`` where it was changed already.

    The interpreter replaces the functions of ``triton.language`` at every launch, which is needed, and again at every
    call of a device function within, be it only ``tl.sum``. A launch now does so once for each module that the device
    functions come from.
    """
    patch, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__
    patched = set()

    def patch_once(function):
        module = id(function.__globals__)
        if module in patched:
            return None  # what can be undone matters to the launch alone, which comes first
        patched.add(module)
        return patch(function)

    def launch_anew(self, *arguments, **keywords):
        patched.clear()
        return launch(self, *arguments, **keywords)

    interpreter._patch_lang, interpreter.GridExecutor.__call__ = patch_once, launch_anew
