"""Item graphs of every modality in one, and the three graphs of a data set together."""

import numpy as np
import pytest
from tiny import tiny_dataset

from mde_fast.graphs import GraphCache, GraphStore
from mde_fast.graphs.co_occurrence import co_occurrence_graph
from mde_fast.graphs.neighbours import blend_item_graphs, nearest_neighbours, stack_item_graphs
from mde_fast.graphs.user_item import user_item_graph


def _dense(graph) -> np.ndarray:
    matrix = np.zeros(graph.shape)
    np.add.at(matrix, (graph.rows().numpy(), graph.columns.numpy()), graph.edge_values().numpy())
    return matrix


def _random_neighbours(num_modalities: int, num_items: int = 11, k: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(num_modalities)
    lists = [np.stack([rng.permutation(num_items)[:k] for _ in range(num_items)]) for _ in range(num_modalities)]
    lists[0][3] = 3  # an item without content
    return [columns.astype(np.int32) for columns in lists]


@pytest.mark.parametrize("num_modalities", (1, 2, 3, 4))
def test_stack_against_loops(num_modalities):
    lists = _random_neighbours(num_modalities)
    expected = np.zeros((11 * num_modalities,) * 2)
    for modality, columns in enumerate(lists):
        for item, row in enumerate(columns):
            for neighbour in row:
                expected[item * num_modalities + modality, neighbour * num_modalities + modality] += 1 / 4
    graph = stack_item_graphs(lists)
    np.testing.assert_allclose(_dense(graph), expected, atol=1e-7)
    assert graph.values is None and graph.constant == 1 / 4 and not graph.symmetric


@pytest.mark.parametrize("weights", ((1.0,), (0.1, 0.9), (0.2, 0.3, 0.5)))
def test_blend_against_loops(weights):
    lists = _random_neighbours(len(weights))
    expected = np.zeros((11, 11))
    for weight, columns in zip(weights, lists):
        for item, row in enumerate(columns):
            for neighbour in row:
                expected[item, neighbour] += weight / 4
    np.testing.assert_allclose(_dense(blend_item_graphs(lists, weights)), expected, atol=1e-7)


def test_rows_of_either_add_up_to_one():
    lists = _random_neighbours(2)
    np.testing.assert_allclose(_dense(stack_item_graphs(lists)).sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(_dense(blend_item_graphs(lists, (0.1, 0.9))).sum(1), 1, atol=1e-6)


def test_blend_needs_a_weight_for_each_modality():
    with pytest.raises(ValueError):
        blend_item_graphs(_random_neighbours(2), (0.2, 0.3, 0.5))


def _store(dataset) -> GraphStore:
    return GraphStore(dataset.train_matrix, dataset.features, GraphCache(None))


@pytest.mark.parametrize("item_graph", ("per_modality", "blend"))
def test_graphs_of_a_data_set(item_graph):
    dataset = tiny_dataset(modalities=("image", "text", "audio"))
    weights = (0.2, 0.3, 0.5)
    store = _store(dataset)
    made = store.item_graphs(4) if item_graph == "per_modality" else store.blended_item_graph(4, weights)
    lists = [nearest_neighbours(matrix, 4) for matrix in dataset.features.values()]
    items = stack_item_graphs(lists) if item_graph == "per_modality" else blend_item_graphs(lists, weights)
    assert np.array_equal(_dense(made), _dense(items))
    assert np.array_equal(_dense(store.co_occurrence(3)), _dense(co_occurrence_graph(dataset.train_matrix, 3)))
    assert np.array_equal(_dense(store.user_item()), _dense(user_item_graph(dataset.train_matrix)))


def test_held_out_interactions_do_not_leak():
    dataset = tiny_dataset()
    graph = _store(dataset).user_item()
    edges = set(zip(graph.rows().tolist(), graph.columns.tolist()))
    for split in (dataset.valid, dataset.test):
        assert not edges & set(zip(split.users.tolist(), (dataset.num_users + split.items).tolist()))
