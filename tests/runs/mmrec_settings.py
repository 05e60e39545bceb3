"""Keys and values of MMRec's own YAML files, and what they are here."""

# src/configs/overall.yaml
OVERALL = {
    "gpu_id": 0,
    "use_gpu": True,
    "seed": [999],
    "data_path": "../data/",
    "inter_splitting_label": "x_label",
    "filter_out_cod_start_users": True,
    "is_multimodal_model": True,
    "checkpoint_dir": "saved",
    "save_recommended_topk": True,
    "recommend_topk": "recommend_topk/",
    "embedding_size": 64,
    "weight_decay": 0.0,
    "req_training": True,
    "epochs": 1000,
    "stopping_step": 20,
    "train_batch_size": 2048,
    "learner": "adam",
    "learning_rate": 0.001,
    "learning_rate_scheduler": [1.0, 50],
    "eval_step": 1,
    "training_neg_sample_num": 1,
    "use_neg_sampling": True,
    "use_full_sampling": False,
    "NEG_PREFIX": "neg__",
    "USER_ID_FIELD": "user_id:token",
    "ITEM_ID_FIELD": "item_id:token",
    "TIME_FIELD": "timestamp:float",
    "field_separator": "\t",
    "metrics": ["Recall", "NDCG", "Precision", "MAP"],
    "topk": [5, 10, 20, 50],
    "valid_metric": "Recall@20",
    "eval_batch_size": 4096,
    "use_raw_features": False,
    "max_txt_len": 32,
    "max_img_size": 256,
    "vocab_size": 30522,
    "type_vocab_size": 2,
    "hidden_size": 4,
    "pad_token_id": 0,
    "max_position_embeddings": 512,
    "layer_norm_eps": "1e-12",  # which YAML takes for text
    "hidden_dropout_prob": 0.1,
    "end2end": False,
    "hyper_parameters": ["seed"],
}
OURS_OF_OVERALL = {
    "seed": 999,
    "data_dir": "../data/",
    "split_column": "x_label",
    "embedding_size": 64,
    "epochs": 1000,
    "stopping_step": 20,
    "train_batch_size": 2048,
    "learning_rate": 0.001,
    "user_column": "user_id",
    "item_column": "item_id",
    "time_column": "timestamp",
    "topk": (5, 10, 20, 50),
    "valid_metric": "Recall@20",
}

# src/configs/dataset/NAME.yaml
DATASETS = ("baby", "sports", "clothing", "elec", "microlens")


def dataset(name: str) -> dict:
    return {
        "USER_ID_FIELD": "userID",
        "ITEM_ID_FIELD": "itemID",
        "TIME_FIELD": "timestamp",
        "filter_out_cod_start_users": True,
        "inter_file_name": f"{name}.inter",
        "vision_feature_file": "image_feat.npy",
        "text_feature_file": "text_feat.npy",
        "user_graph_dict_file": "user_graph_dict.npy",
        "field_separator": "\t",
    }


OURS_OF_A_DATASET = {
    "user_column": "userID",
    "item_column": "itemID",
    "time_column": "timestamp",
    "features": {"image": "image_feat.npy", "text": "text_feat.npy"},
}

# src/configs/model/LightGCN.yaml and DRAGON.yaml; PyYAML takes 1e-02 for text.
LIGHTGCN = {
    "embedding_size": 64,
    "is_multimodal_model": False,
    "n_layers": [1, 2, 3, 4],
    "reg_weight": ["1e-02", "1e-03", "1e-04", "1e-05", "1e-06"],
    "hyper_parameters": ["n_layers", "reg_weight"],
}
DRAGON = {
    "embedding_size": 64,
    "feat_embed_dim": 64,
    "n_mm_layers": 1,
    "n_layers": 2,
    "knn_k": 10,
    "mm_image_weight": 0.1,
    "aggr_mode": ["add"],
    "learning_rate": [0.1, 0.01, 0.001, 0.0001, 0.00001],
    "reg_weight": [0.1, 0.01, 0.001, 0.0001, 0.00001],
    "hyper_parameters": ["aggr_mode", "reg_weight", "learning_rate"],
}
