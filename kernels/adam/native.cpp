// Native step of Adam: a parameter's numbers, their gradient and both moments are read and written once.
#include "../counted_bits.h"
#include "../native.h"

namespace mde_fast {
namespace {

constexpr int64_t NUMBERS_PER_BLOCK = 1 << 13;

struct AdamStep {
  double learning_rate, beta1, beta2, eps, correction1, correction2;
};

inline float with_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

// To one of the two bfloat16 that x lies between, `chance` (below 2^16) in 2^16 times away from 0.
inline bfloat16 narrow_by_chance(float x, uint32_t chance) {
  const uint32_t bits = bits_of(x), finite = (bits & 0x7f800000u) != 0x7f800000u;
  return {static_cast<uint16_t>((bits + (finite ? chance : 0)) >> 16)};
}

template <class T>
void step_of(T* parameter, const T* gradient, T* first, T* second, int64_t count, uint32_t number, BitsKey key,
             AdamStep step) {
  using A = typename Exact<T>::type;
  const A keep1 = step.beta1, add1 = 1 - step.beta1, keep2 = step.beta2, add2 = 1 - step.beta2, eps = step.eps;
  const A rate = step.learning_rate / step.correction1, root = std::sqrt(step.correction2);
  for (int64_t n = 0; n < count; ++n) {
    const A g = widen(gradient[n]);
    const A m = keep1 * widen(first[n]) + add1 * g, v = keep2 * widen(second[n]) + add2 * g * g;
    const A p = widen(parameter[n]) - rate * m / (std::sqrt(v) / root + eps);
    first[n] = narrow<T>(m);
    if constexpr (std::is_same_v<T, bfloat16>) {
      uint32_t bits = counted_bits(number + static_cast<uint32_t>(n), key);
      bits ^= bits >> 14;
      second[n] = narrow_by_chance(v, bits & 0xffffu);
      parameter[n] = narrow_by_chance(p, bits >> 16);
    } else {
      second[n] = v;
      parameter[n] = p;
    }
  }
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_adam_step(int64_t threads, int64_t element, void* parameter_, const void* gradient_,
                                        void* first_, void* second_, const void* step_, double learning_rate,
                                        double beta1, double beta2, double eps, int64_t stream, int64_t count) {
  const double steps = *static_cast<const float*>(step_);
  const AdamStep step{learning_rate, beta1, beta2, eps, 1 - std::pow(beta1, steps), 1 - std::pow(beta2, steps)};
  const BitsKey key = bits_key(static_cast<int64_t>(steps), stream);
  with_element(element, [&](auto t) {
    using T = decltype(t);
    auto *parameter = static_cast<T*>(parameter_), *first = static_cast<T*>(first_), *second = static_cast<T*>(second_);
    const auto* gradient = static_cast<const T*>(gradient_);
    parallel_blocks(threads, count, NUMBERS_PER_BLOCK, [&](int64_t from, int64_t to) {
      step_of(parameter + from, gradient + from, first + from, second + from, to - from, static_cast<uint32_t>(from),
              key, step);
    });
  });
}

}  // namespace mde_fast
