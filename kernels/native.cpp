// All native kernels as one library.
#include "native.h"

#include "adam/native.cpp"
#include "bpr/native.cpp"
#include "cosine_losses/native.cpp"
#include "dropout/native.cpp"
#include "edges/native.cpp"
#include "node_losses/native.cpp"
#include "normalize_rows/native.cpp"
#include "project_rows/native.cpp"
#include "spmm/native.cpp"
#include "topk/native.cpp"

// The sources' fingerprint, which kernels/native.py compares with those beside it.
MDE_FAST_EXPORT const char* mde_fast_sources() { return MDE_FAST_SOURCES; }
