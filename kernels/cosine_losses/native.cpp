// Native cosine_losses: a row's vectors are read where they are; gradients are added in the order of the batch.
#include <vector>

#include "../native.h"

namespace mde_fast {
namespace {

constexpr int64_t COSINES_PER_BLOCK = 128;  // rows whose cosines are added up together, however many threads there are

template <class T>
struct CosineLosses {
  const T *x, *target;                // (R, K, D), (S, L, D)
  const int64_t *rows, *target_rows;  // (B,), or null for all rows in turn
  int64_t batch, own, others, width;
  const int64_t* pairs;  // (P, 2)
  int64_t num_pairs;
  T eps;

  const T* vector(int64_t b, int64_t k) const { return x + ((rows ? rows[b] : b) * own + k) * width; }
  const T* other(int64_t b, int64_t l) const {
    return target + ((target_rows ? target_rows[b] : b) * others + l) * width;
  }
  T norm(const T* row) const {
    const T length = std::sqrt(dot(row, row, width));
    return length < eps ? eps : length;  // NaN stays
  }

  void forward(int64_t threads, T* losses) const {
    const int64_t blocks = (batch + COSINES_PER_BLOCK - 1) / COSINES_PER_BLOCK;
    std::vector<double> sums((blocks ? blocks : 1) * num_pairs, 0.0);
    parallel_blocks(threads, batch, COSINES_PER_BLOCK, [&](int64_t first, int64_t last) {
      double* of_block = sums.data() + first / COSINES_PER_BLOCK * num_pairs;
      std::vector<T> norms(own + others);
      for (int64_t b = first; b < last; ++b) {
        all_norms(b, norms.data());
        for (int64_t p = 0; p < num_pairs; ++p) {
          const int64_t k = pairs[2 * p], l = pairs[2 * p + 1];
          of_block[p] += 1 - dot(vector(b, k), other(b, l), width) / norms[k] / norms[own + l];
        }
      }
    });
    for (int64_t p = 0; p < num_pairs; ++p) {
      double sum = 0;
      for (int64_t block = 0; block < blocks; ++block) sum += sums[block * num_pairs + p];
      losses[p] = T(batch ? sum / batch : 0.0);
    }
  }

  // The gradient of vector k of row b is the sum over l of slopes[b][k][l] other(b, l), minus along[b][k] times itself.
  void backward(int64_t threads, const T* grad, int64_t num_rows, T* grad_x) const {
    std::vector<T> slopes(batch * own * others), along(batch * own);
    parallel_blocks(threads, batch, COSINES_PER_BLOCK, [&](int64_t first, int64_t last) {
      std::vector<T> norms(own + others);
      for (int64_t b = first; b < last; ++b) {
        all_norms(b, norms.data());
        for (int64_t p = 0; p < num_pairs; ++p) {
          const int64_t k = pairs[2 * p], l = pairs[2 * p + 1];
          const T slope = -grad[p] / T(batch) / norms[k] / norms[own + l];
          slopes[(b * own + k) * others + l] += slope;
          if (norms[k] > eps)  // below it the norm is a constant
            along[b * own + k] += slope * dot(vector(b, k), other(b, l), width) / norms[k] / norms[k];
        }
      }
    });
    const auto row = [&](int64_t b) { return rows ? rows[b] : b; };
    scatter_rows(threads, grad_x, num_rows, own * width, batch, row, [&](int64_t b, T* to) {
      for (int64_t k = 0; k < own; ++k) {
        for (int64_t l = 0; l < others; ++l)
          if (const T slope = slopes[(b * own + k) * others + l]; slope != 0)
            add_scaled(to + k * width, other(b, l), slope, width);
        add_scaled(to + k * width, vector(b, k), -along[b * own + k], width);
      }
    });
  }

 private:
  void all_norms(int64_t b, T* norms) const {
    for (int64_t k = 0; k < own; ++k) norms[k] = norm(vector(b, k));
    for (int64_t l = 0; l < others; ++l) norms[own + l] = norm(other(b, l));
  }
};

template <class Body>
void with_cosine_losses(int64_t element, const void* x, const void* target, const void* rows, const void* target_rows,
                        int64_t batch, int64_t own, int64_t others, int64_t width, const void* pairs,
                        int64_t num_pairs, double eps, Body body) {
  const auto run = [&](auto t) {
    using T = decltype(t);
    body(CosineLosses<T>{static_cast<const T*>(x), static_cast<const T*>(target), static_cast<const int64_t*>(rows),
                         static_cast<const int64_t*>(target_rows), batch, own, others, width,
                         static_cast<const int64_t*>(pairs), num_pairs, T(eps)},
         t);
  };
  if (element == 0) run(float{});
  if (element == 1) run(double{});
}

}  // namespace

MDE_FAST_EXPORT void mde_fast_cosine_losses_forward(int64_t threads, int64_t element, const void* x,
                                                    const void* target, const void* rows, const void* target_rows,
                                                    int64_t batch, int64_t own, int64_t others, int64_t width,
                                                    const void* pairs, int64_t num_pairs, double eps, void* losses) {
  with_cosine_losses(element, x, target, rows, target_rows, batch, own, others, width, pairs, num_pairs, eps,
                     [&](const auto& of_batch, auto t) {
                       of_batch.forward(threads, static_cast<decltype(t)*>(losses));
                     });
}

MDE_FAST_EXPORT void mde_fast_cosine_losses_backward(int64_t threads, int64_t element, const void* x,
                                                     const void* target, const void* rows, const void* target_rows,
                                                     int64_t batch, int64_t own, int64_t others, int64_t width,
                                                     const void* pairs, int64_t num_pairs, double eps,
                                                     const void* grad, int64_t num_rows, void* grad_x) {
  with_cosine_losses(element, x, target, rows, target_rows, batch, own, others, width, pairs, num_pairs, eps,
                     [&](const auto& of_batch, auto t) {
                       using T = decltype(t);
                       of_batch.backward(threads, static_cast<const T*>(grad), num_rows, static_cast<T*>(grad_x));
                     });
}

}  // namespace mde_fast
