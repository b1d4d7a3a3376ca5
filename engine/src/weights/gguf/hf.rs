//! Hugging Face's names for what llama.cpp's converter wrote (`convert_hf_to_gguf.py`,
//! `gguf/tensor_mapping.py`).

use super::{Header, Metadata, rope};
use crate::{
    architectures::{self, Architecture},
    error::{Error, Result},
    weights::{Dtype, TensorInfo},
};
use serde_json::{Value, json};

/// Half the widest head that makes sense.
const MAX_ROPE_FACTORS: usize = 4096;

/// Takes the factors of a rope scaling out of the tensors: Hugging Face has them in the config.
///
/// # Errors
/// When they are too many, or not F32.
pub fn take_rope_factors(header: &mut Header) -> Result<Option<TensorInfo>> {
    let Some(at) = header.tensors.iter().position(|t| t.name == rope::TENSOR) else {
        return Ok(None);
    };
    let info = header.tensors.remove(at);
    if info.dtype != Dtype::F32 || info.len() > MAX_ROPE_FACTORS {
        let message = format!(
            "tensor {}: {} of {} are not at most {MAX_ROPE_FACTORS} of F32",
            info.name,
            info.len(),
            info.dtype
        );
        return Err(Error::malformed(info.file(), message));
    }
    Ok(Some(info))
}

/// Renames the tensors as the Hugging Face class does and writes the class's `config.json`; the
/// factors are those of [`take_rope_factors`], and none where there are none.
///
/// # Errors
/// When the architecture is unknown, or a key the class needs is missing or wrong.
pub fn translate(mut header: Header, rope_factors: &[f32]) -> Result<(Header, Value)> {
    let metadata = &header.metadata;
    let architecture = metadata
        .text("general.architecture")?
        .ok_or_else(|| Error::malformed(metadata.file(), "key general.architecture: is missing"))?;
    let head = architectures::of_gguf(architecture)?;
    // llama.cpp's converter permutes the rows of q and k for its rotary embedding.
    let is_permuted = architecture == "llama";
    if let Some(parts @ 2..) = metadata.unsigned("split.count")? {
        return Err(Error::unsupported(format!(
            "GGUF files in {parts} parts; join them with `llama-gguf-split --merge`"
        )));
    }
    let mut config = config(architecture, head, metadata)?;
    if !rope_factors.is_empty() {
        let theta = config["rope_theta"].as_f64().unwrap_or_default();
        config["rope_scaling"] = rope::scaling(rope_factors, theta).ok_or_else(|| {
            let message = format!("the {} of this GGUF; use the model's safetensors", rope::TENSOR);
            Error::unsupported(message)
        })?;
    }
    for tensor in &mut header.tensors {
        let Some(name) = rename(&tensor.name) else {
            let message = format!("tensor {}: has no name in class {architecture}", tensor.name);
            return Err(Error::malformed(metadata.file(), message));
        };
        let heads = match name.rsplit_once(".self_attn.").map(|(_, rest)| rest) {
            Some("q_proj.weight" | "q_proj.bias") => "num_attention_heads",
            Some("k_proj.weight" | "k_proj.bias") => "num_key_value_heads",
            _ => "",
        };
        if is_permuted && !heads.is_empty() {
            let heads = config[heads].as_u64().unwrap_or_default();
            permute(tensor, heads).map_err(|m| Error::malformed(metadata.file(), m))?;
        }
        tensor.name = name;
    }
    let find = |name: &str| header.tensors.iter().find(|t| t.name == name);
    config["tie_word_embeddings"] = find("lm_head.weight").is_none().into();
    config["attention_bias"] = find("model.layers.0.self_attn.q_proj.bias").is_some().into();
    config["mlp_bias"] = find("model.layers.0.mlp.up_proj.bias").is_some().into();
    if let Some(embeddings) = find("model.embed_tokens.weight") {
        config["vocab_size"] = embeddings.shape.first().copied().unwrap_or_default().into();
    }
    Ok((header, config))
}

/// Marks a tensor whose rows are to be read in another order.
fn permute(tensor: &mut TensorInfo, heads: u64) -> Result<(), String> {
    let rows = tensor.shape.first().copied().unwrap_or(0);
    let heads = usize::try_from(heads).unwrap_or(0);
    if heads == 0 || rows % heads != 0 || rows / heads % 2 != 0 {
        return Err(format!(
            "tensor {}: {rows} rows are not {heads} heads of an even size",
            tensor.name
        ));
    }
    if !tensor.row_len().is_multiple_of(tensor.dtype.block_len()) {
        return Err(format!("tensor {}: a bias cannot be quantised", tensor.name));
    }
    tensor.head_rows = Some(rows / heads);
    Ok(())
}

/// `blk.3.attn_q.weight` becomes `model.layers.3.self_attn.q_proj.weight`.
fn rename(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let (part, kind) = rest.split_once('.')?;
    let part = match part {
        "attn_norm" => "input_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    matches!(kind, "weight" | "bias").then(|| format!("model.layers.{layer}.{part}.{kind}"))
}

fn config(architecture: &str, head: Architecture, metadata: &Metadata) -> Result<Value> {
    let key = |name: &str| format!("{architecture}.{name}");
    let needed = |name: &str| {
        let key = key(name);
        match metadata.unsigned(&key)? {
            Some(value @ 1..=0xffff_ffff) => Ok(value),
            Some(value) => Err(Error::malformed(
                metadata.file(),
                format!("key {key}: {value} is not between 1 and 4294967295"),
            )),
            None => Err(Error::malformed(metadata.file(), format!("key {key}: is missing"))),
        }
    };
    let optional = |name: &str| metadata.unsigned(&key(name));
    if let Some(experts @ 1..) = optional("expert_count")? {
        let message = format!("mixtures of experts, and this file has {experts} of them");
        return Err(Error::unsupported(message));
    }
    let hidden = needed("embedding_length")?;
    let heads = needed("attention.head_count")?;
    let kv_heads = match optional("attention.head_count_kv")? {
        Some(_) => needed("attention.head_count_kv")?,
        None => heads,
    };
    let head_dim = match optional("attention.key_length")? {
        Some(length) => length,
        None => optional("rope.dimension_count")?.unwrap_or(hidden / heads),
    };
    let epsilon = metadata.float(&key("attention.layer_norm_rms_epsilon"))?;
    let tokens = metadata.array("tokenizer.ggml.tokens")?.map(|tokens| tokens.len() as u64);
    Ok(json!({
        "architectures": [head.name],
        "model_type": head.class.name(),
        "hidden_size": hidden,
        "intermediate_size": needed("feed_forward_length")?,
        "num_hidden_layers": needed("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": epsilon.unwrap_or(1e-6),
        "rope_theta": metadata.float(&key("rope.freq_base"))?.unwrap_or(10_000.0),
        "rope_scaling": rope_scaling(architecture, metadata)?,
        "max_position_embeddings": needed("context_length")?,
        "vocab_size": optional("vocab_size")?.or(tokens),
        "bos_token_id": metadata.unsigned("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": metadata.unsigned("tokenizer.ggml.eos_token_id")?,
        "pad_token_id": metadata.unsigned("tokenizer.ggml.padding_token_id")?,
    }))
}

/// The rope scaling; linear is the only one whose every parameter the file carries.
fn rope_scaling(architecture: &str, metadata: &Metadata) -> Result<Value> {
    let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
    match metadata.text(&key("type"))? {
        None | Some("none") => Ok(Value::Null),
        Some("linear") => {
            let factor = metadata.float(&key("factor"))?.unwrap_or(1.0);
            Ok(json!({"rope_type": "linear", "type": "linear", "factor": factor}))
        }
        Some(other) => Err(Error::unsupported(format!(
            "GGUF files with rope scaling {other:?}; use the safetensors of this model"
        ))),
    }
}
