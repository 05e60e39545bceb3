// Native bpr: a triple's rows are read where they are; gradients are added to their tables in the order of the batch.
#include <vector>

#include "../native.h"

namespace mde_fast {
namespace {

constexpr int64_t TRIPLES_PER_BLOCK = 128;  // whose losses are added up together, however many threads there are

template <class T>
struct Operands {
  const T *h_users, *h_items;                      // (U, M, D), (I, M, D)
  const int64_t *users, *positives, *negatives;    // (B,)
  const T *user_logits, *item_logits;              // (U, M), (I, M), or null
  int64_t num_users, num_items, batch, modalities, width;
  bool concatenated;  // eq. 5 by concatenation, else by a sum over the modalities
};

template <class T>
struct Bpr : Operands<T> {
  using Operands<T>::h_users;
  using Operands<T>::h_items;
  using Operands<T>::users;
  using Operands<T>::positives;
  using Operands<T>::negatives;
  using Operands<T>::user_logits;
  using Operands<T>::item_logits;
  using Operands<T>::num_users;
  using Operands<T>::num_items;
  using Operands<T>::batch;
  using Operands<T>::modalities;
  using Operands<T>::width;
  using Operands<T>::concatenated;

  const T* user_row(int64_t b, int64_t m) const { return h_users + (users[b] * modalities + m) * width; }
  const T* item_row(int64_t item, int64_t m) const { return h_items + (item * modalities + m) * width; }

  // softmax of a node's logits; ones without any.
  void preferences(const T* logits, int64_t node, T* weights) const {
    if (!logits) {
      for (int64_t m = 0; m < modalities; ++m) weights[m] = 1;
      return;
    }
    const T* row = logits + node * modalities;
    T highest = row[0], sum = 0;
    for (int64_t m = 1; m < modalities; ++m) highest = row[m] > highest ? row[m] : highest;
    for (int64_t m = 0; m < modalities; ++m) sum += weights[m] = std::exp(row[m] - highest);
    for (int64_t m = 0; m < modalities; ++m) weights[m] /= sum;
  }

  // scores[m][n] = <H_m,u, H_n,i>; only those of one modality (m = n) where the fusion concatenates.
  void scores(int64_t b, int64_t item, T* scores) const {
    for (int64_t m = 0; m < modalities; ++m)
      for (int64_t n = 0; n < modalities; ++n)
        if (m == n || !concatenated) scores[m * modalities + n] = dot(user_row(b, m), item_row(item, n), width);
  }

  T fused_score(const T* scores, const T* user_weight, const T* item_weight) const {
    T sum = 0;
    for (int64_t m = 0; m < modalities; ++m)
      for (int64_t n = 0; n < modalities; ++n)
        if (m == n || !concatenated) sum += user_weight[m] * item_weight[n] * scores[m * modalities + n];
    return sum;
  }

  struct Room {  // of one triple: weights of its three nodes, scores of both items
    std::vector<T> user, items[2], scores[2];
    explicit Room(int64_t m) : user(m), items{std::vector<T>(m), std::vector<T>(m)},
                               scores{std::vector<T>(m * m), std::vector<T>(m * m)} {}
  };

  void look_up(int64_t b, Room& room) const {
    preferences(user_logits, users[b], room.user.data());
    const int64_t items[2] = {positives[b], negatives[b]};
    for (int side = 0; side < 2; ++side) {
      preferences(item_logits, items[side], room.items[side].data());
      scores(b, items[side], room.scores[side].data());
    }
  }

  void forward(int64_t threads, T* losses, T* slopes) const {
    const int64_t count = modalities + 1;
    const int64_t blocks = (batch + TRIPLES_PER_BLOCK - 1) / TRIPLES_PER_BLOCK;
    std::vector<double> sums((blocks ? blocks : 1) * count, 0.0);
    parallel_blocks(threads, batch, TRIPLES_PER_BLOCK, [&](int64_t first, int64_t last) {
      double* of_block = sums.data() + first / TRIPLES_PER_BLOCK * count;
      Room room(modalities);
      for (int64_t b = first; b < last; ++b) {
        look_up(b, room);
        for (int64_t loss = 0; loss < count; ++loss) {
          const int64_t own = (loss - 1) * (modalities + 1);
          const T difference = loss ? room.scores[0][own] - room.scores[1][own]
                                    : fused_score(room.scores[0].data(), room.user.data(), room.items[0].data()) -
                                          fused_score(room.scores[1].data(), room.user.data(), room.items[1].data());
          const T small = std::exp(-std::fabs(difference));  // of the two exponentials the one that cannot overflow
          of_block[loss] += (difference < 0 ? -difference : T(0)) + std::log1p(small);
          slopes[b * count + loss] = difference < 0 ? 1 / (1 + small) : small / (1 + small);
        }
      }
    });
    for (int64_t block = 1; block < blocks; ++block)
      for (int64_t n = 0; n < count; ++n) sums[n] += sums[block * count + n];
    const double triples = batch ? double(batch) : 1.0;
    for (int64_t loss = 0; loss < count; ++loss) losses[loss] = T(sums[loss] / triples);
  }

  // The gradient of a softmax's inputs from that of its outputs.
  void to_logits(const T* weights, T* gradient) const {
    T sum = 0;
    for (int64_t m = 0; m < modalities; ++m) sum += gradient[m] *= weights[m];
    for (int64_t m = 0; m < modalities; ++m) gradient[m] -= weights[m] * sum;
  }

  struct Gradients {
    const T *losses, *slopes;                          // given: (M + 1,), (B, M + 1)
    T *h_users, *h_items, *user_logits, *item_logits;  // wanted, or null
  };

  void backward(int64_t threads, const Gradients& grad) const {
    const int64_t square = modalities * modalities, count = modalities + 1;
    // Gradients of the scores of both items, and of the logits of the three nodes, triple by triple.
    std::vector<T> of_scores(2 * batch * square), of_users(batch * modalities), of_items(2 * batch * modalities);
    const T scale = -1 / T(batch ? batch : 1);
    parallel_blocks(threads, batch, TRIPLES_PER_BLOCK, [&](int64_t first, int64_t last) {
      Room room(modalities);
      for (int64_t b = first; b < last; ++b) {
        look_up(b, room);
        T* of_user = of_users.data() + b * modalities;
        for (int side = 0; side < 2; ++side) {
          const T sign = side ? -scale : scale;  // the negative's scores enter the differences with a minus
          const T fused = grad.slopes[b * count] * grad.losses[0] * sign;
          const T *score = room.scores[side].data(), *user = room.user.data(), *item = room.items[side].data();
          T *of_score = of_scores.data() + (side * batch + b) * square;
          T *of_item = of_items.data() + (side * batch + b) * modalities;
          for (int64_t m = 0; m < modalities; ++m)
            for (int64_t n = 0; n < modalities; ++n) {
              if (m != n && concatenated) continue;
              const T here = score[m * modalities + n];
              of_score[m * modalities + n] = fused * user[m] * item[n];
              of_user[m] += fused * item[n] * here;
              of_item[n] += fused * user[m] * here;
              if (m == n) of_score[m * modalities + n] += grad.slopes[b * count + 1 + m] * grad.losses[1 + m] * sign;
            }
          to_logits(item, of_item);
        }
        to_logits(room.user.data(), of_user);
      }
    });

    const auto item = [&](int64_t n) { return n < batch ? positives[n] : negatives[n - batch]; };
    const auto user = [&](int64_t b) { return users[b]; };
    const auto each_score = [&](const T* of_score, auto body) {
      for (int64_t m = 0; m < modalities; ++m)
        for (int64_t n = 0; n < modalities; ++n)
          if (m == n || !concatenated) body(m, n, of_score[m * modalities + n]);
    };
    scatter_rows(threads, grad.h_users, num_users, modalities * width, batch, user, [&](int64_t b, T* to) {
      for (int side = 0; side < 2; ++side)
        each_score(of_scores.data() + (side * batch + b) * square, [&](int64_t m, int64_t n, T factor) {
          add_scaled(to + m * width, item_row(side ? negatives[b] : positives[b], n), factor, width);
        });
    });
    scatter_rows(threads, grad.h_items, num_items, modalities * width, 2 * batch, item, [&](int64_t n, T* to) {
      each_score(of_scores.data() + n * square, [&](int64_t m, int64_t k, T factor) {
        add_scaled(to + k * width, user_row(n % batch, m), factor, width);
      });
    });
    const auto add_logits = [&](const std::vector<T>& rows) {
      return [&](int64_t n, T* to) {
        for (int64_t m = 0; m < modalities; ++m) to[m] += rows[n * modalities + m];
      };
    };
    if (grad.user_logits)
      scatter_rows(threads, grad.user_logits, num_users, modalities, batch, user, add_logits(of_users));
    if (grad.item_logits)
      scatter_rows(threads, grad.item_logits, num_items, modalities, 2 * batch, item, add_logits(of_items));
  }
};

template <class Body>
void with_bpr(int64_t element, const void* h_users, const void* h_items, const void* users, const void* positives,
              const void* negatives, const void* user_logits, const void* item_logits, int64_t num_users, int64_t num_items, int64_t batch, int64_t modalities, int64_t width,
              int64_t concatenated, Body body) {
  const auto run = [&](auto t) {
    using T = decltype(t);
    body(Bpr<T>{{static_cast<const T*>(h_users), static_cast<const T*>(h_items), static_cast<const int64_t*>(users),
                 static_cast<const int64_t*>(positives), static_cast<const int64_t*>(negatives),
                 static_cast<const T*>(user_logits), static_cast<const T*>(item_logits), num_users, num_items, batch,
                 modalities, width, concatenated != 0}},
         t);
  };
  if (element == 0) run(float{});
  if (element == 1) run(double{});
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_bpr_forward(int64_t threads, int64_t element, const void* h_users, const void* h_items,
                                          const void* users, const void* positives, const void* negatives,
                                          const void* user_logits, const void* item_logits, int64_t num_users, int64_t num_items, int64_t batch, int64_t modalities,
                                          int64_t width, int64_t concatenated, void* losses, void* slopes) {
  with_bpr(element, h_users, h_items, users, positives, negatives, user_logits, item_logits, num_users,
           num_items, batch, modalities, width, concatenated, [&](const auto& bpr, auto t) {
             using T = decltype(t);
             bpr.forward(threads, static_cast<T*>(losses), static_cast<T*>(slopes));
           });
}

MDE_FAST_EXPORT void mde_fast_bpr_backward(int64_t threads, int64_t element, const void* h_users, const void* h_items,
                                           const void* users, const void* positives, const void* negatives,
                                           const void* user_logits, const void* item_logits, int64_t num_users, int64_t num_items, int64_t batch, int64_t modalities,
                                           int64_t width, int64_t concatenated, const void* grad_losses,
                                           const void* slopes, void* grad_h_users, void* grad_h_items,
                                           void* grad_user_logits, void* grad_item_logits) {
  with_bpr(element, h_users, h_items, users, positives, negatives, user_logits, item_logits, num_users,
           num_items, batch, modalities, width, concatenated, [&](const auto& bpr, auto t) {
             using T = decltype(t);
             bpr.backward(threads, {static_cast<const T*>(grad_losses), static_cast<const T*>(slopes),
                                    static_cast<T*>(grad_h_users), static_cast<T*>(grad_h_items),
                                    static_cast<T*>(grad_user_logits), static_cast<T*>(grad_item_logits)});
           });
}

}  // namespace mde_fast
