// Native normalize_rows: a row is read once in each direction and is in cache for its store.
#include "../native.h"

namespace mde_fast {
namespace {

constexpr int64_t ROWS_PER_BLOCK = 256;

template <class T>
void forward(int64_t threads, const T* x, int64_t rows, int64_t width, typename Exact<T>::type scale,
             typename Exact<T>::type eps, T* out, typename Exact<T>::type* norms) {
  parallel_blocks(threads, rows, ROWS_PER_BLOCK, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const T* from = x + row * width;
      T* to = out + row * width;
      const auto length = std::sqrt(dot(from, from, width));
      const auto norm = length < eps ? eps : length;  // NaN stays
      const auto factor = scale / norm;
      norms[row] = norm;
      int64_t d = 0;
      for (; d + LANES<T> <= width; d += LANES<T>) store(to + d, load(from + d) * factor);
      for (; d < width; ++d) to[d] = narrow<T>(widen(from[d]) * factor);
    }
  });
}

template <class T>
void backward(int64_t threads, const T* grad, const typename Exact<T>::type* grad_norms, const T* x,
              const typename Exact<T>::type* norms, int64_t rows, int64_t width, typename Exact<T>::type scale,
              typename Exact<T>::type eps, T* grad_x) {
  parallel_blocks(threads, rows, ROWS_PER_BLOCK, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const T *dy = grad + row * width, *from = x + row * width;
      T* dx = grad_x + row * width;
      const auto norm = norms[row], factor = scale / norm;
      typename Exact<T>::type along = 0;  // below eps the norm is a constant
      if (norm > eps) {
        along = dot(dy, from, width) * factor;
        if (grad_norms) along -= grad_norms[row] * norm;
        along = along / norm / norm;
      }
      int64_t d = 0;
      for (; d + LANES<T> <= width; d += LANES<T>) store(dx + d, load(dy + d) * factor - load(from + d) * along);
      for (; d < width; ++d) dx[d] = narrow<T>(widen(dy[d]) * factor - widen(from[d]) * along);
    }
  });
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_normalize_rows_forward(int64_t threads, int64_t element, const void* x, int64_t rows,
                                                     int64_t width, double scale, double eps, void* out, void* norms) {
  with_element(element, [&](auto t) {
    using T = decltype(t);
    using A = typename Exact<T>::type;
    forward(threads, static_cast<const T*>(x), rows, width, A(scale), A(eps), static_cast<T*>(out),
            static_cast<A*>(norms));
  });
}

MDE_FAST_EXPORT void mde_fast_normalize_rows_backward(int64_t threads, int64_t element, const void* grad,
                                                      const void* grad_norms, const void* x, const void* norms,
                                                      int64_t rows, int64_t width, double scale, double eps,
                                                      void* grad_x) {
  with_element(element, [&](auto t) {
    using T = decltype(t);
    using A = typename Exact<T>::type;
    backward(threads, static_cast<const T*>(grad), static_cast<const A*>(grad_norms), static_cast<const T*>(x),
             static_cast<const A*>(norms), rows, width, A(scale), A(eps), static_cast<T*>(grad_x));
  });
}

}  // namespace mde_fast
