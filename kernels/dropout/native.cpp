// Native dropout: an element's number is hashed in a register beside the element.
#include "../counted_bits.h"
#include "../native.h"

namespace mde_fast {
namespace {

constexpr int64_t ELEMENTS_PER_BLOCK = 1 << 14;

template <class T>
void drop(const T* x, T* out, int64_t count, uint32_t number, BitsKey key, int32_t least,
          typename Exact<T>::type scale) {
  for (int64_t n = 0; n < count; ++n) {
    const T scaled = narrow<T>(widen(x[n]) * scale);
    out[n] = static_cast<int32_t>(counted_bits(number + static_cast<uint32_t>(n), key)) >= least ? scaled : T{};
  }
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_dropout_apply(int64_t threads, int64_t element, const void* x_, const void* seed,
                                            const void* rows_, int64_t stream, int64_t least, double scale,
                                            int64_t count, int64_t width, void* out_) {
  const BitsKey key = bits_key(*static_cast<const int64_t*>(seed), stream);
  const auto* rows = static_cast<const int64_t*>(rows_);
  with_element(element, [&](auto t) {
    using T = decltype(t);
    const auto* x = static_cast<const T*>(x_);
    auto* out = static_cast<T*>(out_);
    const typename Exact<T>::type factor = scale;
    if (!rows) {
      parallel_blocks(threads, count, ELEMENTS_PER_BLOCK, [&](int64_t first, int64_t last) {
        drop(x + first, out + first, last - first, static_cast<uint32_t>(first), key, least, factor);
      });
    } else if (width) {
      parallel_blocks(threads, count / width, 1 + ELEMENTS_PER_BLOCK / width, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row)
          drop(x + row * width, out + row * width, width, static_cast<uint32_t>(rows[row] * width), key, least, factor);
      });
    }
  });
}

}  // namespace mde_fast
