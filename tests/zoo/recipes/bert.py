"""Encoders: pooled and not, three activations, padding on either side."""

import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from zoo import case, ids, mask


def make():
    case(
        "bert/bert-base-tiny",
        BertModel,
        BertConfig(
            vocab_size=100, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=72, max_position_embeddings=40,
        ),
        {
            "input_ids": ids(1, 100, 2, 17),
            "attention_mask": mask(17, 17, 11),
            "token_type_ids": torch.tensor([[0] * 8 + [1] * 9, [0] * 6 + [1] * 11]),
        },
    )
    case(
        "bert/bert-mlm-tied",
        BertForMaskedLM,
        BertConfig(
            vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=72, max_position_embeddings=32, layer_norm_eps=1e-5,
        ),
        {"input_ids": ids(2, 96, 1, 13)},
    )
    case(
        "bert/bert-sentence-relu",
        BertModel,
        BertConfig(
            vocab_size=128, hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
            intermediate_size=128, max_position_embeddings=24, hidden_act="relu",
        ),
        {"input_ids": ids(3, 128, 3, 10), "attention_mask": mask(10, 10, 7, 3, left=True)},
    )
    case(
        "bert/bert-mlm-gelu-new",
        BertForMaskedLM,
        BertConfig(
            vocab_size=90, hidden_size=36, num_hidden_layers=2, num_attention_heads=3,
            intermediate_size=100, max_position_embeddings=20, hidden_act="gelu_new",
        ),
        {"input_ids": ids(4, 90, 2, 9), "attention_mask": mask(9, 5, 9)},
    )
    case(
        "bert/bert-mlm-untied",
        BertForMaskedLM,
        BertConfig(
            vocab_size=96, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=24, hidden_act="relu",
            tie_word_embeddings=False,
        ),
        {"input_ids": ids(5, 96, 2, 7)},
    )
