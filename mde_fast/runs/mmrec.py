"""Keys of MMRec's own YAML files that no option of ours stands for.

Those that belong to one model are told by that model's options (``mmrec`` and ``mmrec_ignored``).
"""

from __future__ import annotations

import re

# Read and passed over, with a line that says so: fixed here, or about something that MMRec alone has.
PASSED_OVER = frozenset(
    (
        *("gpu_id", "use_gpu", "filter_out_cod_start_users", "is_multimodal_model", "checkpoint_dir"),
        *("save_recommended_topk", "recommend_topk", "weight_decay", "req_training", "learner"),
        *("learning_rate_scheduler", "eval_step", "training_neg_sample_num", "use_neg_sampling"),
        *("use_full_sampling", "NEG_PREFIX", "field_separator", "metrics", "eval_batch_size", "use_raw_features"),
        *("max_txt_len", "max_img_size", "vocab_size", "type_vocab_size", "hidden_size", "pad_token_id"),
        *("max_position_embeddings", "layer_norm_eps", "hidden_dropout_prob", "end2end", "inter_file_name"),
        *("user_graph_dict_file",),
    )
)
FEATURE_FILES = {"vision_feature_file": "image", "text_feature_file": "text"}  # key -> modality
GRIDS = "hyper_parameters"  # lists the keys whose values are to be tried one by one
COLUMN_TYPE = re.compile(r":(token|float)(_seq)?$")  # written behind a column's name
