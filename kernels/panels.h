// The inner part of every dense product here: a few rows times a panel of columns, summed up in registers.
#pragma once

#include <vector>

#include "native.h"

namespace mde_fast {

// Zeros that begin where a cache line does, so that no vector of a panel lies in two of them.
template <class T>
class Packed {
 public:
  explicit Packed(int64_t size) : room_(size + LINE / sizeof(T), T(0)) {
    const auto address = reinterpret_cast<uintptr_t>(room_.data());
    first_ = room_.data() + (LINE - address % LINE) % LINE / sizeof(T);
  }
  Packed(Packed&&) = default;
  T* data() { return first_; }
  const T* data() const { return first_; }

 private:
  static constexpr size_t LINE = 64;
  std::vector<T> room_;
  T* first_;
};

// Columns that a panel has side by side, (depth, PANEL): two vectors' width.
template <class T>
constexpr int64_t PANEL = 2 * LANES<T>;

// As many rows as there are registers for, beside the panel's two vectors and a row's number.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ROWS_AT_ONCE = 12;
#else
constexpr int ROWS_AT_ONCE = 6;
#endif

// out[row][0..PANEL) = or += the sum over d < depth of rows[row][d] * panel[d], for ROWS_AT_ONCE rows.
// A function of its own: inlined, its sums may leave their registers.
template <bool ADD, class T>
__attribute__((noinline)) void multiply_panel(const T* const* rows, const T* panel, int64_t depth, T* out, int64_t stride) {
  Vector<T> left[ROWS_AT_ONCE] = {}, right[ROWS_AT_ONCE] = {};
  if constexpr (ADD) {
#pragma GCC unroll 16
    for (int row = 0; row < ROWS_AT_ONCE; ++row) {
      left[row] = load(out + row * stride);
      right[row] = load(out + row * stride + LANES<T>);
    }
  }
  for (int64_t d = 0; d < depth; ++d) {
    const auto first = load(panel + d * PANEL<T>), second = load(panel + d * PANEL<T> + LANES<T>);
#pragma GCC unroll 16
    for (int row = 0; row < ROWS_AT_ONCE; ++row) {
      left[row] += rows[row][d] * first;
      right[row] += rows[row][d] * second;
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < ROWS_AT_ONCE; ++row) {
    store(out + row * stride, left[row]);
    store(out + row * stride + LANES<T>, right[row]);
  }
}

}  // namespace mde_fast
