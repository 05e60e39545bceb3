// Native products with items' features: rows are read where they lie, and what they meet is packed in panels.
//
// The inner dimension is cut into pieces whose panel stays in a core's first cache while a block of rows passes by.
// Every number of a result is added up by one thread in one order, however many threads there are.
#include <algorithm>
#include <vector>

#include "../panels.h"

namespace mde_fast {
namespace {

template <class T>
constexpr int64_t PIECE = 2048 / sizeof(T);            // of the inner dimension
constexpr int64_t PASSING_ROWS = 16 * ROWS_AT_ONCE;    // of the result, that pass by a panel in turn
constexpr int64_t PACKED_PANELS = 512 / VECTOR_BYTES;  // of features' columns, at most, that a thread packs at a time
constexpr int64_t BLOCKS_PER_THREAD = 4;               // of features' columns, at least
constexpr int64_t ASKED_AHEAD = 8;                     // rows that are asked of memory before they are packed

// out += rows times a panel, of which a border of the result takes `height` rows and `width` columns.
template <class T>
void add_products(const T* const* rows, const T* panel, int64_t depth, T* out, int64_t stride, int64_t height,
                  int64_t width) {
  if (height == ROWS_AT_ONCE && width == PANEL<T>) return multiply_panel<true>(rows, panel, depth, out, stride);
  T whole[ROWS_AT_ONCE * PANEL<T>];
  multiply_panel<false>(rows, panel, depth, whole, PANEL<T>);
  for (int64_t row = 0; row < height; ++row)
    for (int64_t column = 0; column < width; ++column) out[row * stride + column] += whole[row * PANEL<T> + column];
}

// The i-th row of a batch, or of all.
template <class T>
const T* row_of(const T* features, const int64_t* items, int64_t i, int64_t length) {
  return features + (items ? items[i] : i) * length;
}

// out (count, D) = features[items] W^T + bias, W being (D, F).
template <class T>
void project(int64_t threads, const T* features, const int64_t* items, const T* weight, const T* bias, T* out,
             int64_t count, int64_t length, int64_t dim) {
  const int64_t panels = (dim + PANEL<T> - 1) / PANEL<T>;
  Packed<T> packed(panels * PANEL<T> * length);  // piece by piece, in each (panels, piece, PANEL)
  parallel_blocks(threads, length, PIECE<T>, [&](int64_t begin, int64_t end) {
    T* piece = packed.data() + begin * panels * PANEL<T>;
    for (int64_t d = 0; d < dim; ++d)
      for (int64_t f = begin; f < end; ++f)
        piece[(d / PANEL<T> * (end - begin) + f - begin) * PANEL<T> + d % PANEL<T>] = weight[d * length + f];
  });
  parallel_blocks(threads, count, PASSING_ROWS, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      for (int64_t d = 0; d < dim; ++d) out[row * dim + d] = bias ? bias[d] : T(0);
    for (int64_t begin = 0; begin < length; begin += PIECE<T>) {
      const int64_t depth = std::min(PIECE<T>, length - begin);
      for (int64_t panel = 0; panel < panels; ++panel)
        for (int64_t row = first; row < last; row += ROWS_AT_ONCE) {
          const T* rows[ROWS_AT_ONCE];  // past the last row that row again
          for (int64_t n = 0; n < ROWS_AT_ONCE; ++n)
            rows[n] = row_of(features, items, std::min(row + n, last - 1), length) + begin;
          add_products(rows, packed.data() + (begin * panels + panel * depth) * PANEL<T>, depth,
                       out + row * dim + panel * PANEL<T>, dim, std::min<int64_t>(ROWS_AT_ONCE, last - row),
                       std::min(PANEL<T>, dim - panel * PANEL<T>));
        }
    }
  });
}

// out (D, F) = grad^T features[items], grad being (count, D); across is room for grad^T.
template <class T>
void weight_gradient(int64_t threads, const T* grad, const T* features, const int64_t* items, T* across, T* out,
                     int64_t count, int64_t length, int64_t dim) {
  parallel_blocks(threads, count, 64, [&](int64_t first, int64_t last) {
    for (int64_t d = 0; d < dim; ++d)
      for (int64_t n = first; n < last; ++n) across[d * count + n] = grad[n * dim + d];
  });
  const int64_t shared = length / PANEL<T> / (BLOCKS_PER_THREAD * threads);  // panels; sums do not depend on it
  const int64_t block = std::clamp<int64_t>(shared, 1, PACKED_PANELS) * PANEL<T>;
  parallel_blocks(threads, length, block, [&](int64_t first, int64_t last) {
    const int64_t panels = (last - first + PANEL<T> - 1) / PANEL<T>, stride = panels * PANEL<T>;
    Packed<T> packed(stride * PIECE<T>), sums(dim * stride);
    for (int64_t begin = 0; begin < count; begin += PIECE<T>) {
      const int64_t depth = std::min(PIECE<T>, count - begin);
      for (int64_t n = 0; n < depth; ++n) {
        const T* row = row_of(features, items, begin + n, length);
        const T* soon = row_of(features, items, std::min(begin + n + ASKED_AHEAD, count - 1), length);
        for (int64_t f = first; f < last; f += 64 / sizeof(T)) __builtin_prefetch(soon + f);
        for (int64_t f = first; f < last; f += PANEL<T>)
          std::copy_n(row + f, std::min(PANEL<T>, last - f), packed.data() + ((f - first) * depth + n * PANEL<T>));
      }
      for (int64_t panel = 0; panel < panels; ++panel)
        for (int64_t d = 0; d < dim; d += ROWS_AT_ONCE) {
          const T* rows[ROWS_AT_ONCE];
          for (int64_t n = 0; n < ROWS_AT_ONCE; ++n) rows[n] = across + std::min(d + n, dim - 1) * count + begin;
          add_products(rows, packed.data() + panel * depth * PANEL<T>, depth, sums.data() + d * stride + panel * PANEL<T>,
                       stride, std::min<int64_t>(ROWS_AT_ONCE, dim - d), PANEL<T>);
        }
    }
    for (int64_t d = 0; d < dim; ++d) std::copy_n(sums.data() + d * stride, last - first, out + d * length + first);
  });
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_project(int64_t threads, int64_t element, const void* features, const void* items,
                                      const void* weight, const void* bias, void* out, int64_t count, int64_t length,
                                      int64_t dim) {
  const auto run = [&](auto t) {
    using T = decltype(t);
    project(threads, static_cast<const T*>(features), static_cast<const int64_t*>(items),
            static_cast<const T*>(weight), static_cast<const T*>(bias), static_cast<T*>(out), count, length, dim);
  };
  if (element == 0) run(float{});
  if (element == 1) run(double{});
}

MDE_FAST_EXPORT void mde_fast_project_weight(int64_t threads, int64_t element, const void* grad, const void* features,
                                             const void* items, void* across, void* out, int64_t count,
                                             int64_t length, int64_t dim) {
  const auto run = [&](auto t) {
    using T = decltype(t);
    weight_gradient(threads, static_cast<const T*>(grad), static_cast<const T*>(features),
                    static_cast<const int64_t*>(items), static_cast<T*>(across), static_cast<T*>(out), count, length,
                    dim);
  };
  if (element == 0) run(float{});
  if (element == 1) run(double{});
}

}  // namespace mde_fast
