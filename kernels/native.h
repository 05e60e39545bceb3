// What the native kernels share: element types, vectors as wide as the processor's, and threads.
//
// Every kernel is a plain C function of numbers and pointers, so that one library serves every Python and every torch;
// kernels/native.py calls them. The library is compiled once for each kind of processor (setup.py).
#pragma once

#include <omp.h>
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#define MDE_FAST_EXPORT extern "C" __attribute__((visibility("default")))

namespace mde_fast {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

// The upper half of a float32, as PyTorch stores bfloat16.
struct bfloat16 {
  uint16_t bits;
};

inline float widen(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, 4);
  return wide;
}
inline float widen(float x) { return x; }
inline double widen(double x) { return x; }

template <class T>
inline T narrow(float x) {
  return x;
}
template <>
inline bfloat16 narrow<bfloat16>(float x) {  // to the nearest, ties to even, as PyTorch rounds
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return {0x7fc0};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}
template <class T>
inline T narrow(double x) {
  return x;
}

// Sums are made in float32, or in float64 for float64, whatever their terms are stored in.
template <class T>
struct Exact {
  using type = float;
};
template <>
struct Exact<double> {
  using type = double;
};

template <class A>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(VECTOR_BYTES)));
  typedef uint16_t half __attribute__((vector_size(VECTOR_BYTES / 2)));
  typedef uint32_t bits __attribute__((vector_size(VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(VECTOR_BYTES)));
};
template <class T>
using Vector = typename VectorOf<typename Exact<T>::type>::type;
template <class T>
constexpr int64_t LANES = VECTOR_BYTES / sizeof(typename Exact<T>::type);

template <class T>
inline Vector<T> load(const T* from) {
  Vector<T> x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
template <>
inline Vector<bfloat16> load(const bfloat16* from) {
#if defined(__ARM_NEON)  // GCC takes such a conversion apart, element by element
  const auto bits = vshll_n_u16(vld1_u16(&from->bits), 16);
#else
  VectorOf<float>::half half;
  std::memcpy(&half, from, sizeof half);
  const auto bits = __builtin_convertvector(half, VectorOf<float>::bits) << 16;
#endif
  Vector<bfloat16> x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class T>
inline void store(T* to, Vector<T> x) {
  std::memcpy(to, &x, sizeof x);
}
template <>
inline void store(bfloat16* to, Vector<bfloat16> x) {
  for (int64_t lane = 0; lane < LANES<bfloat16>; ++lane) to[lane] = narrow<bfloat16>(x[lane]);
}

// The sum of a vector's elements, by halves: each half is a vector of the next smaller kind.
template <class A, int BYTES>
inline A sum_of_bytes(const A* elements) {
  if constexpr (BYTES <= 16) {
    A sum = elements[0];
    for (size_t n = 1; n < BYTES / sizeof(A); ++n) sum += elements[n];
    return sum;
  } else {
    typedef A half __attribute__((vector_size(BYTES / 2)));
    half low, high;
    std::memcpy(&low, elements, sizeof low);
    std::memcpy(&high, elements + sizeof(half) / sizeof(A), sizeof high);
    low += high;
    return sum_of_bytes<A, BYTES / 2>(reinterpret_cast<const A*>(&low));
  }
}
template <class T>
inline typename Exact<T>::type sum_of_lanes(Vector<T> x) {
  using A = typename Exact<T>::type;
  return sum_of_bytes<A, VECTOR_BYTES>(reinterpret_cast<const A*>(&x));
}

// <left, right> over `width` elements, in two chains of additions.
template <class T>
inline typename Exact<T>::type dot(const T* left, const T* right, int64_t width) {
  Vector<T> even{}, odd{};
  int64_t d = 0;
  for (; d + 2 * LANES<T> <= width; d += 2 * LANES<T>) {
    even += load(left + d) * load(right + d);
    odd += load(left + d + LANES<T>) * load(right + d + LANES<T>);
  }
  for (; d + LANES<T> <= width; d += LANES<T>) even += load(left + d) * load(right + d);
  auto sum = sum_of_lanes<T>(even + odd);
  for (; d < width; ++d) sum += widen(left[d]) * widen(right[d]);
  return sum;
}

// Which of the threads of a parallel loop this is.
inline int64_t this_thread() { return omp_get_thread_num(); }

// body(part) for each of `parts`, by `threads` threads of the pool that torch's own operators use.
template <class Body>
inline void parallel(int64_t threads, int64_t parts, Body body) {
  if (threads <= 1 || parts <= 1) {
    for (int64_t part = 0; part < parts; ++part) body(part);
    return;
  }
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(dynamic)
  for (int64_t part = 0; part < parts; ++part) body(part);
}

// body(first, last) for blocks of `count` things, which do not depend on the number of threads.
template <class Body>
inline void parallel_blocks(int64_t threads, int64_t count, int64_t block, Body body) {
  parallel(threads, (count + block - 1) / block, [&](int64_t part) {
    const int64_t first = part * block;
    body(first, first + block < count ? first + block : count);
  });
}

constexpr int64_t PARTS_PER_THREAD = 16;  // of a graph, so that hubs keep nobody waiting

// The first row of a part of all edges and rows: rows before it hold at least so many of both.
template <class I>
inline int64_t first_row(const I* rowptr, int64_t rows, int64_t work) {
  int64_t low = 0, high = rows;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (int64_t(rowptr[middle]) + middle < work)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// body(row) for every row, threads taking parts of like many edges.
template <class I, class Body>
inline void each_row(int64_t threads, const I* rowptr, int64_t rows, Body body) {
  const int64_t work = rows ? int64_t(rowptr[rows]) + rows : 0, parts = threads > 1 ? threads * PARTS_PER_THREAD : 1;
  parallel(threads, parts, [&](int64_t part) {
    const int64_t last = part + 1 == parts ? rows : first_row(rowptr, rows, work * (part + 1) / parts);
    for (int64_t row = part ? first_row(rowptr, rows, work * part / parts) : 0; row < last; ++row) body(row);
  });
}

// Zeroes a table and calls add(n, row ids(n) of it) for each n in turn; threads own disjoint rows.
template <class T, class Ids, class Add>
inline void scatter_rows(int64_t threads, T* table, int64_t rows, int64_t width, int64_t count, Ids ids, Add add) {
  parallel(threads, threads, [&](int64_t part) {
    const int64_t first = rows * part / threads, last = rows * (part + 1) / threads;
    std::memset(table + first * width, 0, (last - first) * width * sizeof(T));
    for (int64_t n = 0; n < count; ++n) {
      const int64_t row = ids(n);
      if (row >= first && row < last) add(n, table + row * width);
    }
  });
}

// to += factor row, of float32 or float64.
template <class T>
inline void add_scaled(T* to, const T* row, T factor, int64_t width) {
  int64_t d = 0;
  for (; d + LANES<T> <= width; d += LANES<T>) store(to + d, load(to + d) + load(row + d) * factor);
  for (; d < width; ++d) to[d] += row[d] * factor;
}

// A call with a value of the element type that kernels/native.py numbers so.
template <class Body>
inline void with_element(int64_t code, Body body) {
  if (code == 0) body(float{});
  if (code == 1) body(double{});
  if (code == 2) body(bfloat16{});
}

// The same for the type of indices, by its size.
template <class Body>
inline void with_index(int64_t bytes, Body body) {
  if (bytes == 4) body(int32_t{});
  if (bytes == 8) body(int64_t{});
}

}  // namespace mde_fast
