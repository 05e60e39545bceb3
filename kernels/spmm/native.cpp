// Native row_sum and edge_dot: a row's sum stays in registers from its residual to its one store.
#include "../native.h"

namespace mde_fast {
namespace {

constexpr int64_t AHEAD = 8;           // edges whose rows are asked for before they are needed
constexpr int64_t CACHE_LINE = 64;

template <class T>
inline void ask_for(const T* row, int64_t width) {
  for (int64_t byte = 0; byte < width * int64_t(sizeof(T)); byte += CACHE_LINE)
    __builtin_prefetch(reinterpret_cast<const char*>(row) + byte);
}

template <class T, class I>
struct Product {
  using A = typename Exact<T>::type;
  const I* rowptr;
  const I* columns;
  const T* values;  // of each edge, or null
  const T* scale;   // the value of edge (r, c) is scale[r] * scale[c], or null
  A constant;       // every edge's value where both are null
  const T* x;
  const T* residual;  // or null
  A out_scale;
  T* out;
  int64_t rows, edges, width;

  A value(int64_t row, I edge) const {
    if (values) return widen(values[edge]);
    if (scale) return widen(narrow<T>(widen(scale[row]) * widen(scale[columns[edge]])));
    return constant;
  }

  // N vectors of columns of one row, from `column` on.
  template <int N>
  void strip(int64_t row, int64_t column) const {
    Vector<T> sum[N] = {};
    const I last = rowptr[row + 1];
    for (I edge = rowptr[row]; edge < last; ++edge) {
      if (edge + AHEAD < edges) ask_for(x + columns[edge + AHEAD] * width + column, N * LANES<T>);
      const T* from = x + columns[edge] * width + column;
      const A factor = value(row, edge);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sum[n] += factor * load(from + n * LANES<T>);
    }
    const int64_t place = row * width + column;
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      if (residual) sum[n] += load(residual + place + n * LANES<T>);
      store(out + place + n * LANES<T>, sum[n] * out_scale);
    }
  }

  void element(int64_t row, int64_t column) const {
    A sum = 0;
    for (I edge = rowptr[row]; edge < rowptr[row + 1]; ++edge)
      sum += value(row, edge) * widen(x[columns[edge] * width + column]);
    if (residual) sum += widen(residual[row * width + column]);
    out[row * width + column] = narrow<T>(sum * out_scale);
  }

  void whole_row(int64_t row) const {
    int64_t column = 0;
    for (; column + 8 * LANES<T> <= width; column += 8 * LANES<T>) strip<8>(row, column);
    for (; column + 4 * LANES<T> <= width; column += 4 * LANES<T>) strip<4>(row, column);
    for (; column + LANES<T> <= width; column += LANES<T>) strip<1>(row, column);
    for (; column < width; ++column) element(row, column);
  }
};

}  // namespace

MDE_FAST_EXPORT void mde_fast_row_sum(int64_t threads, int64_t element, int64_t index_bytes, const void* rowptr,
                                      const void* columns, const void* values, const void* scale, double constant,
                                      const void* x, const void* residual, double out_scale, void* out, int64_t rows,
                                      int64_t edges, int64_t width) {
  with_element(element, [&](auto t) {
    with_index(index_bytes, [&](auto i) {
      using T = decltype(t);
      using I = decltype(i);
      using A = typename Exact<T>::type;
      const Product<T, I> product{static_cast<const I*>(rowptr), static_cast<const I*>(columns),
                                  static_cast<const T*>(values), static_cast<const T*>(scale),
                                  A(constant), static_cast<const T*>(x), static_cast<const T*>(residual),
                                  A(out_scale), static_cast<T*>(out), rows, edges, width};
      each_row(threads, product.rowptr, rows, [&](int64_t row) { product.whole_row(row); });
    });
  });
}

MDE_FAST_EXPORT void mde_fast_edge_dot(int64_t threads, int64_t element, int64_t index_bytes, const void* rowptr_,
                                       const void* columns_, const void* left_, const void* right_, void* out_,
                                       int64_t rows, int64_t edges, int64_t width) {
  with_element(element, [&](auto t) {
    with_index(index_bytes, [&](auto i) {
      using T = decltype(t);
      using I = decltype(i);
      const auto *rowptr = static_cast<const I*>(rowptr_), *columns = static_cast<const I*>(columns_);
      const auto *left = static_cast<const T*>(left_), *right = static_cast<const T*>(right_);
      auto* out = static_cast<T*>(out_);
      each_row(threads, rowptr, rows, [&](int64_t row) {
        for (I edge = rowptr[row]; edge < rowptr[row + 1]; ++edge) {
          if (edge + AHEAD < edges) ask_for(right + columns[edge + AHEAD] * width, width);
          out[edge] = narrow<T>(dot(left + row * width, right + columns[edge] * width, width));
        }
      });
    });
  });
}

}  // namespace mde_fast
