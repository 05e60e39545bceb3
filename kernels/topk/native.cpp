// Native ranking: scores of a few users at a time stay in a processor's cache between their product and their selection.
// Of a row's scores only the few that reach a threshold are compared, which the maxima of groups give.
#include <algorithm>
#include <functional>
#include <vector>

#include "../panels.h"

namespace mde_fast {
namespace {

constexpr int64_t USERS_PER_BLOCK = 8;
constexpr int64_t GROUPS_PER_PLACE = 2;  // the more groups, the fewer candidates and the longer to find the threshold
constexpr int64_t GROUPS_AT_ONCE = 64;   // whose maxima stay in registers
constexpr int64_t FEW = 512;             // candidates that are ranked by counting, without a branch

// A score that k of a row's scores reach: the k-th largest maximum of disjoint groups. -inf where the row is short.
template <class T>
T reached_by(const T* scores, int64_t items, int64_t k, std::vector<T>& maxima) {
  const T lowest = -std::numeric_limits<T>::infinity();
  const int64_t groups = (GROUPS_PER_PLACE * k + GROUPS_AT_ONCE - 1) / GROUPS_AT_ONCE * GROUPS_AT_ONCE;
  if (items < 2 * groups) return lowest;
  maxima.resize(groups);
  for (int64_t group = 0; group < groups; group += GROUPS_AT_ONCE) {  // group g has the scores g, g + groups, ...
    T largest[GROUPS_AT_ONCE];
    std::fill_n(largest, GROUPS_AT_ONCE, lowest);
    for (int64_t start = group; start + GROUPS_AT_ONCE <= items; start += groups)
      for (int64_t i = 0; i < GROUPS_AT_ONCE; ++i)
        largest[i] = scores[start + i] > largest[i] ? scores[start + i] : largest[i];
    std::copy_n(largest, GROUPS_AT_ONCE, maxima.begin() + group);
  }
  std::nth_element(maxima.begin(), maxima.begin() + (k - 1), maxima.end(), std::greater<T>());
  return maxima[k - 1];
}

// An integer that orders as scores rank: NaN above all, and both zeros one.
inline int64_t order(float score) {
  if (score != score) return std::numeric_limits<int64_t>::max();
  int32_t bits;
  score += 0.0f;
  std::memcpy(&bits, &score, sizeof bits);
  return bits < 0 ? int64_t(std::numeric_limits<int32_t>::min()) - bits : bits;
}
inline int64_t order(double score) {
  if (score != score) return std::numeric_limits<int64_t>::max();
  int64_t bits;
  score += 0.0;
  std::memcpy(&bits, &score, sizeof bits);
  return bits < 0 ? std::numeric_limits<int64_t>::min() - bits : bits;
}

template <class T>
struct Room {  // that a thread's rows use in turn
  std::vector<T> maxima, scores;
  std::vector<int64_t> items, orders, places;
};

// Append the items whose score reaches the threshold, ascending; NaN does, which has to come first.
template <class T>
int64_t collect(const T* scores, int64_t first, int64_t last, T threshold, int64_t* reaching, int64_t count) {
  for (int64_t item = first; item < last; ++item) {
    reaching[count] = item;
    count += !(scores[item] < threshold);
  }
  return count;
}
template <int64_t LOOK, class T>
bool any_reaches(const T* scores, T threshold) {
  int any = 0;
  for (int64_t i = 0; i < LOOK; ++i) any |= !(scores[i] < threshold);
  return any;
}

// The k best of a row: of the scores that reach the threshold, which are few unless many are equal.
template <class T>
void best_of_row(const T* scores, int64_t items, int64_t k, Room<T>& room, T* best, int64_t* ranked) {
  const T threshold = reached_by(scores, items, k, room.maxima);
  room.items.resize(items + 1);
  int64_t *reaching = room.items.data(), count = 0, item = 0;
  for (; item + 64 <= items; item += 64) {
    if (!any_reaches<64>(scores + item, threshold)) continue;
    for (int64_t part = item; part < item + 64; part += 16)
      if (any_reaches<16>(scores + part, threshold))
        count = collect(scores, part, part + 16, threshold, reaching, count);
  }
  count = collect(scores, item, items, threshold, reaching, count);

  room.orders.resize(count);
  room.places.resize(count);
  int64_t *orders = room.orders.data(), *places = room.places.data();
  for (int64_t n = 0; n < count; ++n) orders[n] = order(scores[reaching[n]]);
  if (count <= FEW) {  // equal scores stay in the order of their items
    for (int64_t n = 0; n < count; ++n) {
      int64_t place = 0;
      for (int64_t m = 0; m < n; ++m) place += orders[m] >= orders[n];
      for (int64_t m = n + 1; m < count; ++m) place += orders[m] > orders[n];
      places[place] = n;
    }
  } else {
    for (int64_t n = 0; n < count; ++n) places[n] = n;
    const auto before = [&](int64_t n, int64_t m) {
      return orders[n] != orders[m] ? orders[n] > orders[m] : n < m;
    };
    std::nth_element(places, places + (k - 1), places + count, before);
    std::sort(places, places + k, before);
  }
  for (int64_t place = 0; place < k; ++place) {
    const int64_t chosen = reaching[places[place]];
    best[place] = scores[chosen];
    ranked[place] = best[place] == -std::numeric_limits<T>::infinity() ? -1 : chosen;
  }
}

template <class T>
void select(int64_t threads, const T* scores, int64_t users, int64_t items, int64_t k, T* best, int64_t* ranked) {
  std::vector<Room<T>> rooms(threads);
  parallel_blocks(threads, users, USERS_PER_BLOCK, [&](int64_t first, int64_t last) {
    for (int64_t user = first; user < last; ++user)
      best_of_row(scores + user * items, items, k, rooms[this_thread()], best + user * k, ranked + user * k);
  });
}

// Items in panels, (panels, D, PANEL). The last is filled up with zeros.
template <class T>
Packed<T> packed(int64_t threads, const T* vectors, int64_t items, int64_t width) {
  const int64_t panels = (items + PANEL<T> - 1) / PANEL<T>;
  Packed<T> pack(panels * width * PANEL<T>);
  T* const to = pack.data();
  parallel_blocks(threads, items, 256 * PANEL<T>, [&](int64_t first, int64_t last) {
    for (int64_t item = first; item < last; ++item)
      for (int64_t d = 0; d < width; ++d)
        to[(item / PANEL<T> * width + d) * PANEL<T> + item % PANEL<T>] = vectors[item * width + d];
  });
  return pack;
}

constexpr int64_t GROUPS_OF_ROWS = 24 / ROWS_AT_ONCE;  // that share a panel while it is in cache

template <class T, class I>
void rank(int64_t threads, const T* user_vectors, const T* item_vectors, const int64_t* users, const I* rowptr,
          const I* columns, int64_t count, int64_t items, int64_t width, int64_t k, T* best, int64_t* ranked) {
  const Packed<T> pack = packed(threads, item_vectors, items, width);
  const int64_t panels = (items + PANEL<T> - 1) / PANEL<T>, stride = panels * PANEL<T>;
  std::vector<Room<T>> rooms(threads);
  parallel_blocks(threads, count, ROWS_AT_ONCE * GROUPS_OF_ROWS, [&](int64_t first, int64_t last) {
    Room<T>& room = rooms[this_thread()];
    std::vector<T>& scores = room.scores;
    scores.resize(ROWS_AT_ONCE * GROUPS_OF_ROWS * stride);
    const T* rows[ROWS_AT_ONCE * GROUPS_OF_ROWS];  // past the last user that user again
    for (int64_t n = 0; n < ROWS_AT_ONCE * GROUPS_OF_ROWS; ++n)
      rows[n] = user_vectors + users[std::min(first + n, last - 1)] * width;
    for (int64_t panel = 0; panel < panels; ++panel)
      for (int64_t group = 0; group * ROWS_AT_ONCE < last - first; ++group)
        multiply_panel<false>(rows + group * ROWS_AT_ONCE, pack.data() + panel * width * PANEL<T>, width,
                              scores.data() + group * ROWS_AT_ONCE * stride + panel * PANEL<T>, stride);
    for (int64_t n = first; n < last; ++n) {
      T* of_user = scores.data() + (n - first) * stride;
      if (rowptr)
        for (I edge = rowptr[users[n]]; edge < rowptr[users[n] + 1]; ++edge)
          of_user[columns[edge]] = -std::numeric_limits<T>::infinity();
      best_of_row(of_user, items, k, room, best + n * k, ranked + n * k);
    }
  });
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_rank(int64_t threads, int64_t element, int64_t index_bytes, const void* user_vectors,
                                   const void* item_vectors, const void* users, const void* rowptr, const void* columns,
                                   int64_t count, int64_t items, int64_t width, int64_t k, void* best, void* ranked) {
  const auto run = [&](auto t) {
    with_index(index_bytes, [&](auto i) {
      using T = decltype(t);
      using I = decltype(i);
      rank(threads, static_cast<const T*>(user_vectors), static_cast<const T*>(item_vectors),
           static_cast<const int64_t*>(users), static_cast<const I*>(rowptr), static_cast<const I*>(columns), count,
           items, width, k, static_cast<T*>(best), static_cast<int64_t*>(ranked));
    });
  };
  if (element == 0) run(float{});
  if (element == 1) run(double{});
}

MDE_FAST_EXPORT void mde_fast_mask_seen(int64_t threads, int64_t element, int64_t index_bytes, void* scores,
                                        const void* users_, const void* rowptr_, const void* columns_, int64_t count,
                                        int64_t items) {
  const auto* users = static_cast<const int64_t*>(users_);
  with_element(element, [&](auto t) {
    with_index(index_bytes, [&](auto i) {
      using T = decltype(t);
      using I = decltype(i);
      const auto *rowptr = static_cast<const I*>(rowptr_), *columns = static_cast<const I*>(columns_);
      const T hidden = narrow<T>(-std::numeric_limits<typename Exact<T>::type>::infinity());
      parallel_blocks(threads, count, 64, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row)
          for (I edge = rowptr[users[row]]; edge < rowptr[users[row] + 1]; ++edge)
            static_cast<T*>(scores)[row * items + columns[edge]] = hidden;
      });
    });
  });
}

MDE_FAST_EXPORT void mde_fast_select(int64_t threads, int64_t element, const void* scores, int64_t users, int64_t items,
                                     int64_t k, void* best, void* ranked_) {
  auto* ranked = static_cast<int64_t*>(ranked_);
  if (element == 0)
    select(threads, static_cast<const float*>(scores), users, items, k, static_cast<float*>(best), ranked);
  if (element == 1)
    select(threads, static_cast<const double*>(scores), users, items, k, static_cast<double*>(best), ranked);
}

}  // namespace mde_fast
