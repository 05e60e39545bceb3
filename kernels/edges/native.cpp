// Native edge_softmax: a row's scores are read from cache after the first time.
#include "../native.h"

namespace mde_fast {
namespace {

template <class T, class I>
void softmax_forward(int64_t threads, const I* rowptr, const T* scores, int64_t rows, T* out) {
  using A = typename Exact<T>::type;
  each_row(threads, rowptr, rows, [&](int64_t row) {
    const I first = rowptr[row], last = rowptr[row + 1];
    if (first == last) return;
    A largest = widen(scores[first]), sum = 0;
    for (I edge = first; edge < last; ++edge) {
      const A score = widen(scores[edge]);
      largest = !(score <= largest) ? score : largest;  // NaN stays
    }
    for (I edge = first; edge < last; ++edge) sum += std::exp(widen(scores[edge]) - largest);
    for (I edge = first; edge < last; ++edge) out[edge] = narrow<T>(std::exp(widen(scores[edge]) - largest) / sum);
  });
}

template <class T, class I>
void softmax_backward(int64_t threads, const I* rowptr, const T* grad, const T* alpha, int64_t rows, T* out) {
  using A = typename Exact<T>::type;
  each_row(threads, rowptr, rows, [&](int64_t row) {
    A along = 0;
    for (I edge = rowptr[row]; edge < rowptr[row + 1]; ++edge) along += widen(alpha[edge]) * widen(grad[edge]);
    for (I edge = rowptr[row]; edge < rowptr[row + 1]; ++edge)
      out[edge] = narrow<T>(widen(alpha[edge]) * (widen(grad[edge]) - along));
  });
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_edge_softmax_forward(int64_t threads, int64_t element, int64_t index_bytes,
                                                   const void* rowptr, const void* scores, int64_t rows, void* out) {
  with_element(element, [&](auto t) {
    with_index(index_bytes, [&](auto i) {
      using T = decltype(t);
      softmax_forward(threads, static_cast<const decltype(i)*>(rowptr), static_cast<const T*>(scores), rows,
                      static_cast<T*>(out));
    });
  });
}

MDE_FAST_EXPORT void mde_fast_edge_softmax_backward(int64_t threads, int64_t element, int64_t index_bytes,
                                                    const void* rowptr, const void* grad, const void* alpha,
                                                    int64_t rows, void* out) {
  with_element(element, [&](auto t) {
    with_index(index_bytes, [&](auto i) {
      using T = decltype(t);
      softmax_backward(threads, static_cast<const decltype(i)*>(rowptr), static_cast<const T*>(grad),
                       static_cast<const T*>(alpha), rows, static_cast<T*>(out));
    });
  });
}

}  // namespace mde_fast
