// Native node_losses: a node's modality rows are read once in each direction.
#include <vector>

#include "../native.h"

namespace mde_fast {
namespace {

constexpr int64_t NODES_PER_BLOCK = 512;  // whose losses are added up together, however many threads there are

// The forms of eqs. 6 and 7, in the order of kernels/node_losses/forms.py.
enum Mda { ROW_L2, FRO, ABS_COS, NO_MDA };
enum Msa { COSINE, NO_MSA };

template <class A>
struct Statistics {  // what a node leaves for the backward pass; P pairs of modalities
  A* w_dif;          // (N,)
  A* norms;          // (N, M), not below eps
  A* cosines;        // (N, P)
  A* distances;      // (N, P)
  A* pair_norms;     // (P,)
};

template <class T, int M>
struct Losses {
  using A = typename Exact<T>::type;
  static constexpr int PAIRS = M * (M - 1) / 2;
  const T* h;  // (N, M, D)
  const T* preference_logits;
  const T* free_logits;
  int64_t nodes, width;
  Mda mda;
  Msa msa;
  A eps;
  Statistics<A> kept;

  bool needs_cosines() const { return mda == ABS_COS || msa == COSINE; }
  bool needs_distances() const { return mda == ROW_L2 || mda == FRO; }

  void preferences(int64_t node, A* alpha) const {
    A highest = widen(preference_logits[node * M]), sum = 0;
    for (int m = 1; m < M; ++m) highest = std::fmax(highest, widen(preference_logits[node * M + m]));
    for (int m = 0; m < M; ++m) sum += alpha[m] = std::exp(widen(preference_logits[node * M + m]) - highest);
    for (int m = 0; m < M; ++m) alpha[m] /= sum;
  }

  static void extremes(const A* alpha, A& low, A& high) {
    low = high = alpha[0];
    for (int m = 1; m < M; ++m) low = alpha[m] < low ? alpha[m] : low, high = alpha[m] > high ? alpha[m] : high;
  }

  A difference_weight(int64_t node) const {
    if (free_logits) return 1 / (1 + std::exp(-widen(free_logits[node])));
    if (!preference_logits) return A(0.5);
    A alpha[M], low, high;
    preferences(node, alpha);
    extremes(alpha, low, high);
    return high - low;
  }

  A distance(const T* p, const T* q) const {
    Vector<T> sum{};
    int64_t d = 0;
    for (; d + LANES<T> <= width; d += LANES<T>) {
      const auto apart = load(p + d) - load(q + d);
      sum += apart * apart;
    }
    A total = sum_of_lanes<T>(sum);
    for (; d < width; ++d) total += (widen(p[d]) - widen(q[d])) * (widen(p[d]) - widen(q[d]));
    return std::sqrt(total);
  }

  // Leaves a node's statistics and adds its terms to (mda, msa) and, for FRO, to the pairs' squares.
  void node_forward(int64_t node, double* sums, double* squares) const {
    const T* rows = h + node * M * width;
    const A w = kept.w_dif[node] = difference_weight(node);
    if (needs_cosines())
      for (int m = 0; m < M; ++m) {
        const A norm = std::sqrt(dot(rows + m * width, rows + m * width, width));
        kept.norms[node * M + m] = norm < eps ? eps : norm;
      }
    int64_t place = node * PAIRS;
    for (int p = 0, pair = 0; p < M; ++p)
      for (int q = p + 1; q < M; ++q, ++pair, ++place) {
        const T *row_p = rows + p * width, *row_q = rows + q * width;
        if (needs_cosines()) {
          const A* norms = kept.norms + node * M;
          const A cosine = kept.cosines[place] = dot(row_p, row_q, width) / (norms[p] * norms[q]);
          if (mda == ABS_COS) sums[0] += w * std::fabs(cosine);
          if (msa == COSINE) sums[1] += (1 - w) * (1 - cosine);
        }
        if (needs_distances()) {
          const A apart = kept.distances[place] = distance(row_p, row_q);
          if (mda == ROW_L2) sums[0] -= w * apart;
          if (mda == FRO) squares[pair] += double(w * apart) * (w * apart);
        }
      }
  }

  void forward(int64_t threads, T* mda_loss, T* msa_loss) const {
    const int64_t blocks = (nodes + NODES_PER_BLOCK - 1) / NODES_PER_BLOCK, each = 2 + PAIRS;
    std::vector<double> sums(blocks * each, 0.0);
    parallel_blocks(threads, nodes, NODES_PER_BLOCK, [&](int64_t first, int64_t last) {
      double* of_block = sums.data() + first / NODES_PER_BLOCK * each;
      for (int64_t node = first; node < last; ++node) node_forward(node, of_block, of_block + 2);
    });
    for (int64_t block = 1; block < blocks; ++block)
      for (int64_t n = 0; n < each; ++n) sums[n] += sums[block * each + n];
    if (!blocks) sums.assign(each, 0.0);
    const double count = nodes ? double(nodes) : 1.0;
    double difference = sums[0] / count;
    for (int pair = 0; mda == FRO && pair < PAIRS; ++pair)
      difference -= kept.pair_norms[pair] = A(std::sqrt(sums[2 + pair]));
    *mda_loss = narrow<T>(A(difference));
    *msa_loss = narrow<T>(A(sums[1] / count));
  }

  void node_backward(int64_t node, A grad_mda, A grad_msa, T* grad_h, T* grad_logits) const {
    const T* rows = h + node * M * width;
    const A w = kept.w_dif[node], *norms = kept.norms + node * M;
    A grad_w = 0, slopes[PAIRS] = {}, coefficients[M][M] = {};  // of differences, and of the rows themselves
    int64_t place = node * PAIRS;
    for (int p = 0, pair = 0; p < M; ++p)
      for (int q = p + 1; q < M; ++q, ++pair, ++place) {
        if (needs_distances()) {
          const A apart = kept.distances[place];
          // Where two rows coincide the norm has no slope; its subgradient 0 is taken, as PyTorch does.
          if (mda == ROW_L2) {
            grad_w -= grad_mda * apart;
            slopes[pair] = apart > 0 ? -grad_mda * w / apart : A(0);
          } else if (kept.pair_norms[pair] > 0) {
            grad_w -= grad_mda * w * apart * apart / kept.pair_norms[pair];
            slopes[pair] = apart > 0 ? -grad_mda * w * w / kept.pair_norms[pair] : A(0);
          }
        }
        if (needs_cosines()) {
          const A cosine = kept.cosines[place];
          A slope = 0;
          if (mda == ABS_COS) {
            grad_w += grad_mda * std::fabs(cosine);
            slope += grad_mda * w * A((cosine > 0) - (cosine < 0));
          }
          if (msa == COSINE) {
            grad_w -= grad_msa * (1 - cosine);
            slope -= grad_msa * (1 - w);
          }
          coefficients[p][q] = coefficients[q][p] = slope / (norms[p] * norms[q]);
          for (int m : {p, q})
            if (norms[m] > eps) coefficients[m][m] -= slope * cosine / (norms[m] * norms[m]);
        }
      }
    T* to = grad_h + node * M * width;
    int64_t d = 0;
    for (; d + LANES<T> <= width; d += LANES<T>) {
      Vector<T> row[M], sum[M];
      for (int m = 0; m < M; ++m) row[m] = load(rows + m * width + d);
      combine(row, slopes, coefficients, sum);
      for (int m = 0; m < M; ++m) store(to + m * width + d, sum[m]);
    }
    for (; d < width; ++d) {
      A row[M], sum[M];
      for (int m = 0; m < M; ++m) row[m] = widen(rows[m * width + d]);
      combine(row, slopes, coefficients, sum);
      for (int m = 0; m < M; ++m) to[m * width + d] = narrow<T>(sum[m]);
    }
    if (preference_logits) logits_backward(node, grad_w, grad_logits + node * M);
    if (free_logits) grad_logits[node] = narrow<T>(grad_w * w * (1 - w));
  }

  // Distances enter as differences, which sums of two terms would lose where rows are close.
  template <class V>
  static void combine(const V* row, const A* slopes, const A (*coefficients)[M], V* sum) {
    for (int m = 0; m < M; ++m) {
      sum[m] = row[m] * coefficients[m][m];
      for (int other = 0; other < M; ++other)
        if (other != m) sum[m] += row[other] * coefficients[m][other];
    }
    for (int p = 0, pair = 0; p < M; ++p)
      for (int q = p + 1; q < M; ++q, ++pair) {
        const V along = (row[p] - row[q]) * slopes[pair];
        sum[p] += along;
        sum[q] -= along;
      }
  }

  // Modalities that share the highest or the lowest preference share its slope, as with PyTorch's amax and amin.
  void logits_backward(int64_t node, A grad_w, T* grad_logits) const {
    A alpha[M], slope[M], along = 0, low, high;
    preferences(node, alpha);
    extremes(alpha, low, high);
    int lowest = 0, highest = 0;
    for (int m = 0; m < M; ++m) lowest += alpha[m] == low, highest += alpha[m] == high;
    for (int m = 0; m < M; ++m) {
      slope[m] = (alpha[m] == high ? A(1) / highest : A(0)) - (alpha[m] == low ? A(1) / lowest : A(0));
      along += slope[m] * alpha[m];
    }
    for (int m = 0; m < M; ++m) grad_logits[m] = narrow<T>(alpha[m] * (slope[m] - along) * grad_w);
  }

  void backward(int64_t threads, T grad_mda, T grad_msa, T* grad_h, T* grad_logits) const {
    const A count = nodes ? A(nodes) : A(1);
    const A of_mda = widen(grad_mda) / (mda == FRO ? A(1) : count), of_msa = widen(grad_msa) / count;
    parallel_blocks(threads, nodes, NODES_PER_BLOCK, [&](int64_t first, int64_t last) {
      for (int64_t node = first; node < last; ++node) node_backward(node, of_mda, of_msa, grad_h, grad_logits);
    });
  }
};

// body(losses) for the element type and the number of modalities.
template <class Body>
void with_losses(int64_t element, int64_t modalities, const void* h, const void* preference_logits,
                 const void* free_logits, int64_t nodes, int64_t width, int64_t mda, int64_t msa, double eps,
                 void* w_dif, void* norms, void* cosines, void* distances, void* pair_norms, Body body) {
  with_element(element, [&](auto t) {
    using T = decltype(t);
    using A = typename Exact<T>::type;
    const auto run = [&](auto m) {
      body(Losses<T, decltype(m)::value>{static_cast<const T*>(h), static_cast<const T*>(preference_logits),
                                         static_cast<const T*>(free_logits), nodes, width, Mda(mda), Msa(msa), A(eps),
                                         Statistics<A>{static_cast<A*>(w_dif), static_cast<A*>(norms),
                                                       static_cast<A*>(cosines), static_cast<A*>(distances),
                                                       static_cast<A*>(pair_norms)}},
           t);
    };
    if (modalities == 2) run(std::integral_constant<int, 2>());
    if (modalities == 3) run(std::integral_constant<int, 3>());
    if (modalities == 4) run(std::integral_constant<int, 4>());
  });
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_node_losses_forward(int64_t threads, int64_t element, int64_t modalities, const void* h,
                                                  const void* preference_logits, const void* free_logits,
                                                  int64_t nodes, int64_t width, int64_t mda, int64_t msa, double eps,
                                                  void* w_dif, void* norms, void* cosines, void* distances,
                                                  void* pair_norms, void* mda_loss, void* msa_loss) {
  with_losses(element, modalities, h, preference_logits, free_logits, nodes, width, mda, msa, eps, w_dif, norms,
              cosines, distances, pair_norms, [&](const auto& losses, auto t) {
                using T = decltype(t);
                losses.forward(threads, static_cast<T*>(mda_loss), static_cast<T*>(msa_loss));
              });
}

MDE_FAST_EXPORT void mde_fast_node_losses_backward(int64_t threads, int64_t element, int64_t modalities, const void* h,
                                                   const void* preference_logits, const void* free_logits,
                                                   int64_t nodes, int64_t width, int64_t mda, int64_t msa, double eps,
                                                   void* w_dif, void* norms, void* cosines, void* distances,
                                                   void* pair_norms, const void* grad_mda, const void* grad_msa,
                                                   void* grad_h, void* grad_logits) {
  with_losses(element, modalities, h, preference_logits, free_logits, nodes, width, mda, msa, eps, w_dif, norms,
              cosines, distances, pair_norms, [&](const auto& losses, auto t) {
                using T = decltype(t);
                losses.backward(threads, *static_cast<const T*>(grad_mda), *static_cast<const T*>(grad_msa),
                                static_cast<T*>(grad_h), static_cast<T*>(grad_logits));
              });
}

}  // namespace mde_fast
