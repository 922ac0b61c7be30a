"""torchaudio, with its compiled part left out where that does not load; everything of ours imports it from here.

The wheel of torchaudio 2.11 is built for CUDA: beside a CPU build of torch (or one of another CUDA version) its
compiled extension cannot be loaded and the whole import fails. Only RNN-T loss, forced alignment and the CUDA CTC
decoder need that part, and nothing here uses them; transforms and filters fall back to torch operations.
"""

import sys
import types

try:
    import torchaudio
except (OSError, RuntimeError):
    for name in [module for module in sys.modules if module.split(".")[0] == "torchaudio"]:
        del sys.modules[name]
    absent = types.ModuleType("torchaudio._extension")
    absent._IS_TORCHAUDIO_EXT_AVAILABLE = absent._IS_ALIGN_AVAILABLE = False
    absent._load_lib = lambda library: False
    absent.fail_if_no_align = lambda function: function
    sys.modules["torchaudio._extension"] = absent
    import torchaudio

__all__ = ["torchaudio"]
