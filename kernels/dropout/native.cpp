// Native dropout: an element's number is hashed in a register beside the element.
#include "../native.h"

namespace mde_fast {
namespace {

constexpr int64_t ELEMENTS_PER_BLOCK = 1 << 14;

// The last steps of SplitMix64 (Steele, Lea and Flood, 2014).
inline uint64_t splitmix64(uint64_t key) {
  key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
  key = (key ^ (key >> 27)) * 0x94D049BB133111EBu;
  return key ^ (key >> 31);
}

// As mask_reference of kernels/dropout/reference.py mixes them.
inline int32_t mixed(uint32_t number, uint32_t low, uint32_t high) {
  number ^= low;
  number = (number ^ (number >> 17)) * 0xED5AD4BBu;
  number = (number ^ (number >> 11)) * 0xAC4C1B51u;
  number += high;
  number = (number ^ (number >> 15)) * 0x31848BABu;
  return static_cast<int32_t>(number);
}

template <class T>
void drop(const T* x, T* out, int64_t count, uint32_t number, uint32_t low, uint32_t high, int32_t least,
          typename Exact<T>::type scale) {
  for (int64_t n = 0; n < count; ++n) {
    const T scaled = narrow<T>(widen(x[n]) * scale);
    out[n] = mixed(number + static_cast<uint32_t>(n), low, high) >= least ? scaled : T{};
  }
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_dropout_apply(int64_t threads, int64_t element, const void* x_, const void* seed,
                                            const void* rows_, int64_t stream, int64_t least, double scale,
                                            int64_t count, int64_t width, void* out_) {
  const uint64_t weyl = 0x9E3779B97F4A7C15u * (static_cast<uint64_t>(stream) + 1);
  const uint64_t key = splitmix64(static_cast<uint64_t>(*static_cast<const int64_t*>(seed)) + weyl);
  const auto low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
  const auto* rows = static_cast<const int64_t*>(rows_);
  with_element(element, [&](auto t) {
    using T = decltype(t);
    const auto* x = static_cast<const T*>(x_);
    auto* out = static_cast<T*>(out_);
    const typename Exact<T>::type factor = scale;
    if (!rows) {
      parallel_blocks(threads, count, ELEMENTS_PER_BLOCK, [&](int64_t first, int64_t last) {
        drop(x + first, out + first, last - first, static_cast<uint32_t>(first), low, high, least, factor);
      });
    } else if (width) {
      parallel_blocks(threads, count / width, 1 + ELEMENTS_PER_BLOCK / width, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row)
          drop(x + row * width, out + row * width, width, static_cast<uint32_t>(rows[row] * width), low, high, least,
               factor);
      });
    }
  });
}

}  // namespace mde_fast
