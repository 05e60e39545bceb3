// Random bits that follow from a seed and an element's number alone, as kernels/dropout/reference.py mixes them.
#pragma once

#include <cstdint>

namespace mde_fast {

// The two words that seed and stream become.
struct BitsKey {
  uint32_t low, high;
};

// The last steps of SplitMix64 (Steele, Lea and Flood, 2014).
inline uint64_t splitmix64(uint64_t key) {
  key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
  key = (key ^ (key >> 27)) * 0x94D049BB133111EBu;
  return key ^ (key >> 31);
}

inline BitsKey bits_key(int64_t seed, int64_t stream) {
  const uint64_t weyl = 0x9E3779B97F4A7C15u * (static_cast<uint64_t>(stream) + 1);
  const uint64_t key = splitmix64(static_cast<uint64_t>(seed) + weyl);
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

// An element's 32 bits; its upper ones are the better half.
inline uint32_t counted_bits(uint32_t number, BitsKey key) {
  number ^= key.low;
  number = (number ^ (number >> 17)) * 0xED5AD4BBu;
  number = (number ^ (number >> 11)) * 0xAC4C1B51u;
  number += key.high;
  return (number ^ (number >> 15)) * 0x31848BABu;
}

}  // namespace mde_fast
